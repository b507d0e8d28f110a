package apiserver

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Media types that ask for objects' metadata in place of objects.
const (
	metadataType     = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	metadataListType = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

// watchTime is how long one watch lasts at least; half as much again by chance, so that nodes do not come back together.
const watchTime = 5 * time.Minute

// refusal is why a watch cannot go on from its version.
type refusal struct{ error }

func isRefusal(err error) bool {
	_, is := errors.AsType[refusal](err)
	return is
}

// maxList bounds a list of objects as it comes over the wire, in bytes: 100,000 pods of 10 kB have a quarter of it. Only one object is in
// memory at a time.
const maxList = 4 << 30

// Object is the part of an object that every kind has.
type Object interface {
	// Version is metadata.resourceVersion.
	Version() string
	// Failure is the message of a Status that comes in an object's place.
	Failure() string
}

// Head is the part of most objects that is read.
type Head struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Message string `json:"message"`
}

// Version implements Object.
func (h Head) Version() string { return h.Metadata.ResourceVersion }

// Failure implements Object.
func (h Head) Failure() string { return h.Message }

// Feed is a collection that is listed and then followed.
type Feed[T Object] struct {
	Path     string
	Selector string // of fields; none when empty
	Metadata bool   // in place of whole objects
	// List is told all that there is; it replaces what was known.
	List func([]T)
	// Change is told of one object, as it is or as it was before it went.
	Change func(item T, gone bool)
	// Trim, unless it is nil, is given each object as it comes, before anybody else sees it.
	Trim func(*T)
	// Keep says of a listed object whether list wants it; nil keeps all.
	Keep func(T) bool
	// Seen is the last version that was seen, over all watches.
	Seen *string
	// Resume has a watch that broke off go on where it was, without a list: of a large collection the lists of all nodes, when an API
	// server restarts, are more than it can serve. What Change was told must still be known.
	Resume bool
}

// Follow lists and watches until the watch breaks. The list is from the server's cache: what it lacks comes with the watch. It
// is not older than what was seen before, since of several servers one may lag behind.
func (f Feed[T]) Follow(ctx context.Context, a *API) error {
	if f.Resume && *f.Seen != "" && *f.Seen != newest {
		if err := f.resume(ctx, a); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return f.list(ctx, a)
}

// resume goes on with the watch. It returns nil when there must be a list: the version is too old, or what comes makes no sense. A server
// whose store was set back is noticed by asking for one object that is not older: a watch would wait in silence for the version.
func (f Feed[T]) resume(ctx context.Context, a *API) error {
	query := f.query()
	query.Set("resourceVersion", *f.Seen)
	query.Set("limit", "1")
	err := a.Do(ctx, Request{Method: http.MethodGet, Path: f.Path, Query: query, Accept: metadataListType}, nil) // old servers know no limit
	if err == nil {
		err = f.Watch(ctx, a)
	}
	if IsStatus(err, http.StatusGone, http.StatusGatewayTimeout) || isRefusal(err) {
		return nil
	}
	return err
}

// newest stands in Seen when the next list must be what the store itself has by now.
const newest = "newest"

// list lists and watches.
func (f Feed[T]) list(ctx context.Context, a *API) error {
	var items []T
	query := f.query()
	if *f.Seen != newest { // a list without a version is not from a cache
		query.Set("resourceVersion", cmp.Or(*f.Seen, "0"))
	}
	r := Request{Method: http.MethodGet, Path: f.Path, Query: query}
	if f.Metadata {
		r.Accept = metadataListType
	}
	meta, err := List(ctx, a, r, "items", func(item T) {
		f.trim(&item)
		if f.Keep == nil || f.Keep(item) {
			items = append(items, item)
		}
	})
	if IsStatus(err, http.StatusGone, http.StatusGatewayTimeout) { // the store was set back, or a server or proxy was slow: some cache may be older than what was seen
		*f.Seen = newest
	}
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	*f.Seen = meta.ResourceVersion
	f.List(items)
	return f.Watch(ctx, a)
}

// Watch follows from the version that was seen until it breaks: a watch after the other, since the server ends each after a while.
func (f Feed[T]) Watch(ctx context.Context, a *API) error {
	for ctx.Err() == nil {
		r := Request{Method: http.MethodGet, Path: f.Path, Query: f.query()}
		if f.Metadata {
			r.Accept = metadataType
		}
		if err := watch(ctx, a, r, f.Seen, func(item T, gone bool) { f.trim(&item); f.Change(item, gone) }); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	return nil
}

func (f Feed[T]) trim(item *T) {
	if f.Trim != nil {
		f.Trim(item)
	}
}

func (f Feed[T]) query() url.Values {
	q := url.Values{}
	if f.Selector != "" {
		q.Set("fieldSelector", f.Selector)
	}
	return q
}

// ListMeta is the metadata of a list.
type ListMeta struct {
	ResourceVersion    string `json:"resourceVersion"`
	Continue           string `json:"continue"`
	RemainingItemCount int    `json:"remainingItemCount"`
}

// List reads a list and gives its items, one at a time, to each.
func List[T any](ctx context.Context, a *API, r Request, items string, each func(T)) (meta ListMeta, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(listTimeout, func() { cancel(errStalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && context.Cause(ctx) == errStalled { //nolint:errorlint // it is this very error
			err = errStalled
		}
	}()
	resp, err := a.Send(ctx, r)
	if err != nil {
		return meta, err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(io.LimitReader(progress{resp.Body, timer}, maxList))
	if _, err = dec.Token(); err != nil {
		return meta, fmt.Errorf("decode list: %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return meta, fmt.Errorf("decode list: %w", err)
		}
		switch key {
		case "metadata":
			err = dec.Decode(&meta)
		case items:
			err = elements(dec, each)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return meta, fmt.Errorf("decode list at %v: %w", key, err)
		}
	}
	_, err = dec.Token() // a list that was cut off is none
	return meta, err
}

var errStalled = fmt.Errorf("nothing of the list has come for %s", listTimeout)

// progress puts a timer off whenever something comes: how long a list takes follows from its length.
type progress struct {
	io.Reader
	timer *time.Timer
}

func (p progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.timer.Reset(listTimeout)
	}
	return n, err
}

// elements reads an array, or null, item by item.
func elements[T any](dec *json.Decoder, each func(T)) error {
	open, err := dec.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("%v in place of a list", open)
	}
	for dec.More() {
		var item T
		if err := dec.Decode(&item); err != nil {
			return err
		}
		each(item)
	}
	_, err = dec.Token()
	return err
}

// watch follows from a version on, which it moves on, until the server ends the watch in order.
func watch[T Object](ctx context.Context, a *API, r Request, version *string, change func(item T, gone bool)) error {
	timeout := watchTime + time.Duration(rand.Int64N(int64(watchTime/2)))
	ctx, cancel := context.WithTimeout(ctx, timeout+requestTimeout) // the server ends it before
	defer cancel()
	r.Query.Set("watch", "true")
	r.Query.Set("resourceVersion", *version)
	r.Query.Set("timeoutSeconds", strconv.Itoa(int(timeout.Seconds())))
	r.Query.Set("allowWatchBookmarks", "true")
	resp, err := a.Send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	began := time.Now()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 4<<10), maxBody)
	for lines.Scan() {
		if err := watched(lines.Bytes(), version, change); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return refusal{err}
	} else if err != nil && ctx.Err() == nil {
		return err
	}
	if time.Since(began) < time.Second && ctx.Err() == nil {
		return errors.New("it ended at once") // a server that does this must not be asked in a loop
	}
	return nil
}

// watched takes one line of a watch.
func watched[T Object](line []byte, version *string, change func(item T, gone bool)) error {
	var w struct {
		Type   string `json:"type"`
		Object T      `json:"object"`
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return refusal{fmt.Errorf("decode event: %w", err)}
	}
	switch w.Type {
	case "ADDED", "MODIFIED":
		change(w.Object, false)
	case "DELETED":
		change(w.Object, true)
	case "BOOKMARK":
	case "ERROR":
		return refusal{fmt.Errorf("the server ended it: %s", w.Object.Failure())}
	default:
		return refusal{fmt.Errorf("event of unknown type %q", w.Type)}
	}
	if v := w.Object.Version(); v != "" {
		*version = v
	}
	return nil
}
