package kube

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

	"github.com/berth-net/berth/internal/run"
)

// watchTime is how long one watch lasts at least; half as much again by chance, so that nodes do not come back together.
const watchTime = 5 * time.Minute

// maxList bounds a list of objects as it comes over the wire, in bytes: 250 pods have a hundredth of it. Only one object is in memory at a time.
const maxList = 256 << 20

// object is the part of an object that every kind has.
type object interface {
	// version is metadata.resourceVersion.
	version() string
	// failure is the message of a Status that comes in an object's place.
	failure() string
}

// head is the part of most objects that is read.
type head struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Message string `json:"message"`
}

func (h head) version() string { return h.Metadata.ResourceVersion }
func (h head) failure() string { return h.Message }

// feed is a collection that is listed and then followed.
type feed[T object] struct {
	path     string
	selector string // of fields; none when empty
	metadata bool   // in place of whole objects
	// list is told all that there is; it replaces what was known.
	list func([]T)
	// change is told of one object, as it is or as it was before it went.
	change func(item T, gone bool)
	// keep says of a listed object whether list wants it; nil keeps all.
	keep func(T) bool
	// seen is the last version that was seen, over all watches.
	seen *string
}

// follow lists and watches until the watch breaks. The list is from the server's cache: what it lacks comes with the watch. It
// is not older than what was seen before, since of several servers one may lag behind.
func (f feed[T]) follow(ctx context.Context, a *api) error {
	var items []T
	query := f.query()
	query.Set("resourceVersion", cmp.Or(*f.seen, "0"))
	r := request{method: http.MethodGet, path: f.path, query: query}
	if f.metadata {
		r.accept = metadataListType
	}
	meta, err := list(ctx, a, r, "items", func(item T) {
		if f.keep == nil || f.keep(item) {
			items = append(items, item)
		}
	})
	if isStatus(err, http.StatusGone, http.StatusGatewayTimeout) { // no server has that version: the store was set back
		*f.seen = ""
	}
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	*f.seen = meta.ResourceVersion
	f.list(items)
	return f.watch(ctx, a)
}

// watch follows from the version that was seen until it breaks: a watch after the other, since the server ends each after a while.
func (f feed[T]) watch(ctx context.Context, a *api) error {
	for ctx.Err() == nil {
		r := request{method: http.MethodGet, path: f.path, query: f.query()}
		if f.metadata {
			r.accept = metadataType
		}
		if err := watch(ctx, a, r, f.seen, f.change); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	return nil
}

func (f feed[T]) query() url.Values {
	q := url.Values{}
	if f.selector != "" {
		q.Set("fieldSelector", f.selector)
	}
	return q
}

// listMeta is the metadata of a list.
type listMeta struct {
	ResourceVersion    string `json:"resourceVersion"`
	Continue           string `json:"continue"`
	RemainingItemCount int    `json:"remainingItemCount"`
}

// list reads a list and gives its items, one at a time, to each.
func list[T any](ctx context.Context, a *api, r request, items string, each func(T)) (meta listMeta, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := a.send(ctx, r)
	if err != nil {
		return meta, err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxList))
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
func watch[T object](ctx context.Context, a *api, r request, version *string, change func(item T, gone bool)) error {
	timeout := watchTime + time.Duration(rand.Int64N(int64(watchTime/2)))
	ctx, cancel := context.WithTimeout(ctx, timeout+requestTimeout) // the server ends it before
	defer cancel()
	r.query.Set("watch", "true")
	r.query.Set("resourceVersion", *version)
	r.query.Set("timeoutSeconds", strconv.Itoa(int(timeout.Seconds())))
	r.query.Set("allowWatchBookmarks", "true")
	resp, err := a.send(ctx, r)
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
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return err
	}
	if time.Since(began) < time.Second && ctx.Err() == nil {
		return errors.New("it ended at once") // a server that does this must not be asked in a loop
	}
	return nil
}

// watched takes one line of a watch.
func watched[T object](line []byte, version *string, change func(item T, gone bool)) error {
	var w struct {
		Type   string `json:"type"`
		Object T      `json:"object"`
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	switch w.Type {
	case "ADDED", "MODIFIED":
		change(w.Object, false)
	case "DELETED":
		change(w.Object, true)
	case "BOOKMARK":
	case "ERROR":
		return fmt.Errorf("the server ended it: %s", w.Object.failure())
	default:
		return fmt.Errorf("event of unknown type %q", w.Type)
	}
	if v := w.Object.version(); v != "" {
		*version = v
	}
	return nil
}

// Pauses after errors: doubled with each in a row, half of them by chance, so that nodes do not come back together.
const (
	pauseFirst    = time.Second
	pauseGreatest = 30 * time.Second
	// settled is how long something must have worked for the next error to be the first again.
	settled = time.Minute
)

// pauses knows how long to wait after an error.
type pauses struct{ errors int }

// after is the wait after an error of something that had worked for a while, or not at all; chance is from 0 to 1.
func (p *pauses) after(worked time.Duration, chance float64) time.Duration {
	if worked >= settled {
		p.errors = 0
	}
	pause := pauseGreatest
	if p.errors < 5 {
		pause = min(pauseFirst<<p.errors, pauseGreatest)
	}
	p.errors++
	return time.Duration(float64(pause) * (0.5 + chance))
}

// watcher is one thing that is followed for as long as the client runs.
type watcher struct {
	name string
	step func(ctx context.Context, a *api) error
	// wake ends a pause; nil when nothing does.
	wake <-chan struct{}
	// absent is told that the API server does not know the resource; nil when it always does. It is asked for again after absentFor.
	absent    func()
	absentFor time.Duration
}

// keep steps again and again until ctx ends.
func (c *Client) keep(w watcher) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		var p pauses
		for ctx.Err() == nil {
			began := time.Now()
			err := c.stepOnce(ctx, w)
			if err == nil || ctx.Err() != nil {
				continue
			}
			wait := p.after(time.Since(began), rand.Float64())
			if w.absent != nil && isStatus(err, http.StatusNotFound) {
				w.absent()
				c.tried(w.name, "")
				wait = jitter(w.absentFor)
				c.log.Debug("the cluster has no such resource", "what", w.name, "again", wait.String())
			} else {
				c.tried(w.name, err.Error())
				c.log.Warn("the API server does not serve what is asked", "what", w.name, run.KeyNode, c.cfg.Node, run.KeyErr, err, "again", wait.String())
			}
			pause(ctx, wait, w.wake)
		}
		return nil
	}
}

func (c *Client) stepOnce(ctx context.Context, w watcher) error {
	a, err := c.server()
	if err != nil {
		return err
	}
	return w.step(ctx, a)
}

// pause waits, until ctx ends or something wakes it at most.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}
