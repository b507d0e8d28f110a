// Package imds serves the instance metadata service, version 2 and, where an instance allows it, version 1.
//
// One Service serves one instance, and its listener is that instance's alone: who asks is known by where, never by a source
// address. What it shows comes from the simulator, which decides when a change becomes visible; a value that is not there
// answers 404, never an empty text, because clients tell the two apart.
//
// The answer to a token request carries the instance's hop limit as its IP TTL, so the kernel drops it on its way to a
// pod that is one forwarding step further than the limit. That needs the listener to sit one link outside the
// instance's network namespace.
package imds

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

// Metadata tells what the service shows now, or false when the instance is gone.
type Metadata func() (vpcsim.Metadata, bool)

// Service is the metadata service of one instance.
type Service struct {
	metadata    Metadata
	credentials *sigv4.Store
	now         func() time.Time
	tokens      tokens
	role        roleCredentials
}

// New returns the service of one instance. The store makes the credentials of its role.
func New(metadata Metadata, credentials *sigv4.Store, now func() time.Time) *Service {
	return &Service{metadata: metadata, credentials: credentials, now: now, tokens: newTokens()}
}

const (
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	tokenPath   = "/latest/api/token"
	maxTokenTTL = 21600
)

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	m, ok := s.metadata()
	switch {
	case !ok:
		fail(w, http.StatusNotFound)
	case m.Options.HttpEndpoint == "disabled":
		fail(w, http.StatusForbidden)
	case strings.TrimSuffix(r.URL.Path, "/") == tokenPath:
		s.serveToken(w, r, m)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
	case !s.authorized(r, m):
		fail(w, http.StatusUnauthorized)
	default:
		s.serveValue(w, r, m)
	}
}

func (s *Service) serveToken(w http.ResponseWriter, r *http.Request, m vpcsim.Metadata) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", "OPTIONS, PUT")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	if len(r.Header.Values("X-Forwarded-For")) > 0 { // a proxy, so nothing on the instance itself
		fail(w, http.StatusForbidden)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		fail(w, http.StatusBadRequest)
		return
	}
	if hops := m.Options.HttpPutResponseHopLimit; hops != nil {
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			if err := setHopLimit(conn, *hops); err != nil {
				fail(w, http.StatusInternalServerError)
				return
			}
			w.Header().Set("Connection", "close") // the limit is the connection's: only this answer may have it
		}
	}
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	write(w, "text/plain", s.tokens.issue(s.now().Add(time.Duration(ttl)*time.Second)))
}

func (s *Service) authorized(r *http.Request, m vpcsim.Metadata) bool {
	token := r.Header.Get(tokenHeader)
	if token == "" {
		return m.Options.HttpTokens == "optional"
	}
	return s.tokens.valid(token, s.now())
}

func (s *Service) serveValue(w http.ResponseWriter, r *http.Request, m vpcsim.Metadata) {
	name := path.Clean(r.URL.Path)
	tree := s.tree(m)
	if value, ok := tree[name]; ok {
		text, kind := value()
		write(w, kind, text)
		return
	}
	_, empty := tree[name+"/"]
	if names := children(tree, name); len(names) > 0 || empty {
		write(w, "text/plain", strings.Join(names, "\n"))
		return
	}
	fail(w, http.StatusNotFound)
}

// leaf is a value of the tree and its content type.
type leaf func() (text, kind string)

// tree maps paths to values. A path that ends in "/" is a directory that may be empty.
func (s *Service) tree(m vpcsim.Metadata) map[string]leaf {
	const base = "/latest/meta-data/"
	t := make(map[string]leaf, len(m.Values)+4)
	for name, value := range m.Values {
		t[base+name] = func() (string, string) { return value, "text/plain" }
	}
	t["/latest/dynamic/instance-identity/document"] = func() (string, string) { return identityDocument(m), "text/plain" }
	if m.Role != "" {
		t[base+"iam/info"] = func() (string, string) { return s.iamInfo(m), "application/json" }
		t[base+"iam/security-credentials/"+m.Role] = func() (string, string) { return s.roleDocument(m), "text/plain" }
	}
	return t
}

// children lists what is directly below a directory, sorted; directories end in "/".
func children(tree map[string]leaf, dir string) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	seen := make(map[string]bool)
	var names []string
	for name := range tree {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || rest == "" {
			continue
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i+1]
		}
		// A key is listed as the directory even where the value's own path exists as well.
		if !seen[rest] {
			seen[rest] = true
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names
}

func identityDocument(m vpcsim.Metadata) string {
	return document(map[string]any{
		"accountId": m.Account, "architecture": m.Architecture, "availabilityZone": m.Zone,
		"billingProducts": nil, "devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": m.Image, "instanceId": m.Instance, "instanceType": m.InstanceType,
		"kernelId": nil, "ramdiskId": nil, "pendingTime": m.PendingTime.UTC().Format(time.RFC3339),
		"privateIp": m.PrivateIP, "region": m.Region, "version": "2017-09-30",
	})
}

func document(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // only maps of texts come here
		return "{}"
	}
	return string(b)
}

func write(w http.ResponseWriter, kind, text string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write([]byte(text)) // the client may have gone
}

func fail(w http.ResponseWriter, status int) {
	text := `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + strconv.Itoa(status) + ` - ` + http.StatusText(status) + `</title>
 </head>
 <body>
  <h1>` + strconv.Itoa(status) + ` - ` + http.StatusText(status) + `</h1>
 </body>
</html>
`
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

type connKey struct{}

// ConnContext keeps the connection for the hop limit: set it as the ConnContext of the http.Server.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}
