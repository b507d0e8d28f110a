package apiserver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// maxBody bounds one object or one line of a watch, in bytes: etcd takes objects of 1.5 MiB.
const maxBody = 4 << 20

// requestTimeout bounds a request that is no watch.
const requestTimeout = 10 * time.Second

// listTimeout is how long nothing may come of a list.
const listTimeout = 30 * time.Second

// Media types.
const (
	JSON           = "application/json"
	MergePatch     = "application/merge-patch+json"
	StrategicPatch = "application/strategic-merge-patch+json"
	// Table asks for what kubectl prints: rows of a few words in place of objects.
	Table = "application/json;as=Table;v=v1;g=meta.k8s.io"
)

// API is a connection to the API server.
type API struct {
	http *http.Client
	base *url.URL
}

// StatusError is an answer of the API server that is no success.
type StatusError struct {
	Method, Path string
	Code         int
	Message      string
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Code, http.StatusText(e.Code), e.Message)
}

// IsStatus tells whether an error is an answer of the API server with one of these codes.
func IsStatus(err error, codes ...int) bool {
	e, ok := errors.AsType[*StatusError](err)
	if !ok {
		return false
	}
	return slices.Contains(codes, e.Code)
}

// Connect reads the kubeconfig, or without one the service account's files. It does not talk to the server.
func Connect(kubeconfig, endpoint, userAgent string) (*API, error) {
	cfg, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	if endpoint != "" {
		cfg.Host = endpoint
	}
	cfg.UserAgent = userAgent
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", cfg.Host, err)
	}
	secure := cfg.CAFile != "" || len(cfg.CAData) > 0 || cfg.CertFile != "" || len(cfg.CertData) > 0 || cfg.Insecure
	base, _, err := rest.DefaultServerURL(cfg.Host, "/", schema.GroupVersion{Version: "v1"}, secure)
	if err != nil {
		return nil, fmt.Errorf("parse API server address %q: %w", cfg.Host, err)
	}
	return &API{http: client, base: base}, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the service account: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}

// Request is what is asked of the API server.
type Request struct {
	Method, Path string
	Query        url.Values
	Accept       string // the media type of the answer; empty for JSON
	ContentType  string // of the body
	Body         any    // none when nil
}

// Get is a request for what is at a path.
func Get(path string) Request { return Request{Method: http.MethodGet, Path: path} }

// Do makes a request and decodes the answer into out, unless that is nil.
func (a *API) Do(ctx context.Context, r Request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := a.Send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", r.Method, r.Path, err)
	}
	return nil
}

// Send makes a request; the answer is a success whose body the caller closes.
func (a *API) Send(ctx context.Context, r Request) (*http.Response, error) {
	var payload io.Reader
	if r.Body != nil {
		data, err := json.Marshal(r.Body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode: %w", r.Method, r.Path, err)
		}
		payload = bytes.NewReader(data)
	}
	u := a.base.JoinPath(r.Path)
	u.RawQuery = r.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), payload)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	req.Header.Set("Accept", cmp.Or(r.Accept, JSON))
	if r.Body != nil {
		req.Header.Set("Content-Type", r.ContentType)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the API server: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, &StatusError{Method: r.Method, Path: r.Path, Code: resp.StatusCode, Message: message(resp.Body)}
}

// message returns the text of a Status object, or the beginning of what was sent instead of one.
func message(body io.Reader) string {
	const enough = 4 << 10
	data, _ := io.ReadAll(io.LimitReader(body, enough))
	var status struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &status) == nil && status.Message != "" {
		return status.Message
	}
	return strings.TrimSpace(string(data[:min(200, len(data))]))
}
