package eks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Service answers EKS requests. It is safe for concurrent use.
type Service struct {
	backend Backend
	now     func() time.Time

	mu      sync.Mutex
	updates []*update                    // oldest first
	created map[string]addonRequest      // by cluster and add-on
	tags    map[string]map[string]string // of resources whose tags were changed, by ARN
}

// New returns the service before a backend.
func New(b Backend, now func() time.Time) *Service {
	return &Service{backend: b, now: now, tags: make(map[string]map[string]string), created: make(map[string]addonRequest)}
}

// Owns tells whether a path is one of the EKS API.
func Owns(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first == "clusters" || first == "addons" || first == "tags"
}

// call is a request taken apart.
type call struct {
	ctx    context.Context
	method string
	path   []string // unescaped segments
	query  url.Values
	body   []byte
}

// Operation names the API operation of a request, or "" when there is none.
func Operation(method, escapedPath string) string {
	_, name := route(method, segments(escapedPath))
	return name
}

// Operations are the names of the operations.
func Operations() []string {
	var out []string
	for _, r := range routes {
		out = append(out, r.name)
	}
	return out
}

// Serve answers a request. Body is the whole body. The error, if any, is in the answer already; its code is in the header
// x-amzn-ErrorType.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, body []byte) error {
	c := call{ctx: r.Context(), method: r.Method, path: segments(r.URL.EscapedPath()), query: r.URL.Query(), body: body}
	handle, _ := route(c.method, c.path)
	var answer any
	err := error(&Error{http.StatusNotFound, "ResourceNotFoundException", "no such operation: " + r.Method + " " + r.URL.Path})
	if handle != nil {
		answer, err = handle(s, c)
	}
	if err != nil {
		WriteError(w, err)
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// WriteError answers with an error.
func WriteError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{http.StatusInternalServerError, "ServerException", err.Error()}
	}
	w.Header().Set("X-Amzn-Errortype", e.Code)
	writeJSON(w, e.Status, map[string]string{"message": e.Message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

func segments(escapedPath string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.Trim(escapedPath, "/"), "/") {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil
		}
		out = append(out, text)
	}
	return out
}

type handler func(*Service, call) (any, error)

// routes are the operations; "*" stands for any segment.
var routes = []struct {
	method, path, name string
	handle             handler
}{
	{"GET", "clusters", "ListClusters", (*Service).listClusters},
	{"GET", "clusters/*", "DescribeCluster", (*Service).describeCluster},
	{"GET", "clusters/*/addons", "ListAddons", (*Service).listAddons},
	{"POST", "clusters/*/addons", "CreateAddon", (*Service).createAddon},
	{"GET", "clusters/*/addons/*", "DescribeAddon", (*Service).describeAddon},
	{"POST", "clusters/*/addons/*/update", "UpdateAddon", (*Service).updateAddon},
	{"DELETE", "clusters/*/addons/*", "DeleteAddon", (*Service).deleteAddon},
	{"GET", "clusters/*/updates", "ListUpdates", (*Service).listUpdates},
	{"GET", "clusters/*/updates/*", "DescribeUpdate", (*Service).describeUpdate},
	{"GET", "clusters/*/node-groups", "ListNodegroups", (*Service).listNodeGroups},
	{"GET", "clusters/*/node-groups/*", "DescribeNodegroup", (*Service).describeNodeGroup},
	{"GET", "addons/supported-versions", "DescribeAddonVersions", (*Service).addonVersions},
	{"GET", "addons/configuration-schemas", "DescribeAddonConfiguration", (*Service).addonConfiguration},
	{"GET", "tags/*", "ListTagsForResource", (*Service).listTags},
	{"POST", "tags/*", "TagResource", (*Service).tagResource},
	{"DELETE", "tags/*", "UntagResource", (*Service).untagResource},
}

func route(method string, path []string) (handler, string) {
	for _, r := range routes {
		pattern := strings.Split(r.path, "/")
		match := r.method == method && len(pattern) == len(path)
		for i := 0; match && i < len(pattern); i++ {
			match = pattern[i] == path[i] || pattern[i] == "*" && path[i] != ""
		}
		if match {
			return r.handle, r.name
		}
	}
	return nil, ""
}

// find returns the cluster that a request is about.
func (s *Service) find(c call) (Cluster, error) {
	all, err := s.backend.Clusters(c.ctx)
	if err != nil {
		return Cluster{}, err
	}
	for _, cl := range all {
		if cl.Name == c.path[1] {
			return cl, nil
		}
	}
	return Cluster{}, NotFound("No cluster found for name: " + c.path[1] + ".")
}

func (s *Service) listClusters(c call) (any, error) {
	all, err := s.backend.Clusters(c.ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, cl := range all {
		names = append(names, cl.Name)
	}
	return page(names, "clusters", c.query)
}

func (s *Service) describeCluster(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	return map[string]any{"cluster": s.cluster(cl)}, nil
}

func (s *Service) listNodeGroups(c call) (any, error) {
	if _, err := s.find(c); err != nil {
		return nil, err
	}
	groups, err := s.backend.NodeGroups(c.ctx, c.path[1])
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return page(names, "nodegroups", c.query)
}

func (s *Service) describeNodeGroup(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	groups, err := s.backend.NodeGroups(c.ctx, cl.Name)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if g.Name == c.path[3] {
			return map[string]any{"nodegroup": s.nodeGroup(cl, g)}, nil
		}
	}
	return nil, NotFound("No node group found for name: " + c.path[3] + ".")
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return uuid(b)
}

// taggable finds the resource of an ARN and returns the tags that it was made with.
func (s *Service) taggable(c call) (arn string, tags map[string]string, err error) {
	arn = c.path[1]
	clusters, err := s.backend.Clusters(c.ctx)
	if err != nil {
		return "", nil, err
	}
	for _, cl := range clusters {
		if cl.ARN == arn {
			return arn, cl.Tags, nil
		}
		addons, err := s.backend.Addons(c.ctx, cl.Name)
		if err != nil {
			return "", nil, err
		}
		for _, a := range addons {
			if resourceARN(cl, "addon", a.Name) == arn {
				return arn, a.Tags, nil
			}
		}
		groups, err := s.backend.NodeGroups(c.ctx, cl.Name)
		if err != nil {
			return "", nil, err
		}
		for _, g := range groups {
			if resourceARN(cl, "nodegroup", g.Name) == arn {
				return arn, g.Tags, nil
			}
		}
	}
	return "", nil, &Error{http.StatusNotFound, "NotFoundException", "The resource " + arn + " was not found."}
}

// tagsOf returns the tags of a resource: what the user made of those that it was made with.
func (s *Service) tagsOf(arn string, original map[string]string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if changed, ok := s.tags[arn]; ok {
		return maps.Clone(changed)
	}
	return orEmpty(original)
}

func (s *Service) listTags(c call) (any, error) {
	arn, original, err := s.taggable(c)
	if err != nil {
		return nil, err
	}
	return map[string]any{"tags": s.tagsOf(arn, original)}, nil
}

func (s *Service) tagResource(c call) (any, error) {
	var in struct {
		Tags map[string]string `json:"tags"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil || len(in.Tags) == 0 {
		return nil, &Error{http.StatusBadRequest, "BadRequestException", "tags are missing or malformed"}
	}
	return s.changeTags(c, func(tags map[string]string) { maps.Copy(tags, in.Tags) })
}

func (s *Service) untagResource(c call) (any, error) {
	keys := c.query["tagKeys"]
	return s.changeTags(c, func(tags map[string]string) {
		maps.DeleteFunc(tags, func(k, _ string) bool { return slices.Contains(keys, k) })
	})
}

func (s *Service) changeTags(c call, change func(map[string]string)) (any, error) {
	arn, original, err := s.taggable(c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tags[arn] == nil {
		s.tags[arn] = make(map[string]string)
		maps.Copy(s.tags[arn], original)
	}
	change(s.tags[arn])
	return struct{}{}, nil
}
