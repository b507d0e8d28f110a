package kube_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Paths of the collections that the server has.
const (
	podsPath        = "/api/v1/pods"
	settingsPath    = "/apis/berth-net.github.io/v1alpha1/nodesettings"
	definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	eniconfigsPath  = "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs"
)

// collection is objects of one kind, with all that ever happened to them.
type collection struct {
	objects map[string]map[string]any
	history []happened
	watches []*watching
	absent  bool   // the cluster does not know the kind
	refuse  string // the only line of each watch, when set
}

type happened struct {
	version int
	kind    string
	object  map[string]any
}

type watching struct {
	selector string
	lines    chan string
}

// put sets an object of a collection.
func (s *apiServer) put(path, name string, object map[string]any) {
	meta, _ := object["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		object["metadata"] = meta
	}
	meta["name"] = name
	s.happen(path, "MODIFIED", name, object)
}

// remove deletes one.
func (s *apiServer) remove(path, name string) {
	s.mu.Lock()
	object := maps.Clone(s.collections[path].objects[name])
	object["metadata"] = maps.Clone(object["metadata"].(map[string]any))
	s.mu.Unlock()
	s.happen(path, "DELETED", name, object)
}

func (s *apiServer) happen(path, kind, name string, object map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	object["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(s.version)
	c := s.collections[path]
	if c.objects == nil {
		c.objects = map[string]map[string]any{}
	}
	was := c.objects[name]
	if kind == "DELETED" {
		delete(c.objects, name)
	} else {
		c.objects[name] = object
	}
	h := happened{s.version, kind, object}
	c.history = append(c.history, h)
	for _, w := range c.watches {
		switch {
		case selects(w.selector, object):
			w.lines <- h.line()
		case was != nil && selects(w.selector, was): // it is none of them any more
			w.lines <- happened{h.version, "DELETED", was}.line()
		}
	}
}

func (h happened) line() string {
	data, err := json.Marshal(map[string]any{"type": h.kind, "object": h.object})
	if err != nil {
		panic(err)
	}
	return string(data) + "\n"
}

// selects knows the selectors of fields that a client of this package uses. A field that is not there is empty, or false.
func selects(selector string, object map[string]any) bool {
	for term := range strings.SplitSeq(selector, ",") {
		if term == "" {
			continue
		}
		path, want, _ := strings.Cut(term, "=")
		path, not := strings.CutSuffix(path, "!")
		var at any = object
		for step := range strings.SplitSeq(path, ".") {
			fields, _ := at.(map[string]any)
			at = fields[step]
		}
		got := ""
		if at != nil {
			got = fmt.Sprint(at)
		}
		if want == "false" && got == "" {
			got = want
		}
		if (got == want) == not {
			return false
		}
	}
	return true
}

// collect serves lists and watches of collections, the version and tables.
func (s *apiServer) collect(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	table := strings.Contains(r.Header.Get("Accept"), "as=Table")
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.collections[r.URL.Path]
	switch {
	case s.refusals[r.URL.Path] > 0:
		s.refusals[r.URL.Path]--
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"kind":"Status","message":"storage is (re)initializing"}`)
	case r.URL.Path == "/version":
		fmt.Fprintf(w, `{"major":"1","minor":%q}`, s.minor)
	case table && r.URL.Path == podsPath:
		rows, more := s.waiting, ""
		if limit, err := strconv.Atoi(query.Get("limit")); err == nil && rows > limit {
			rows, more = limit, "more"
		}
		fmt.Fprintf(w, `{"kind":"Table","metadata":{"continue":%q},"columnDefinitions":[{"name":"x"}],"rows":[%s]}`,
			more, strings.TrimSuffix(strings.Repeat(`{"cells":["pod","0/1","Pending"]},`, rows), ","))
	case table && r.URL.Path == "/api/v1/nodes":
		fmt.Fprintf(w, `{"kind":"Table","metadata":{"remainingItemCount":%d},"rows":[{"cells":["node-1"]}]}`, s.nodes-1)
	case c == nil:
		return false
	case c.absent:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "404 page not found")
	case ahead(query.Get("resourceVersion"), s.version):
		w.WriteHeader(http.StatusGatewayTimeout)
		fmt.Fprint(w, `{"kind":"Status","message":"Too large resource version"}`)
	case query.Get("watch") == "true":
		s.mu.Unlock()
		s.watchCollection(w, r, c)
		s.mu.Lock()
	default:
		items := []map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(c.objects)) {
			if selects(query.Get("fieldSelector"), c.objects[name]) {
				items = append(items, c.objects[name])
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "List", "metadata": map[string]any{"resourceVersion": fmt.Sprint(s.version)}, "items": items,
		})
	}
	return true
}

// ahead tells whether a client has seen a version that the server has not.
func ahead(asked string, has int) bool {
	n, err := strconv.Atoi(asked)
	return err == nil && n > has
}

func (s *apiServer) watchCollection(w http.ResponseWriter, r *http.Request, c *collection) {
	s.mu.Lock()
	refuse := c.refuse
	s.mu.Unlock()
	if refuse != "" {
		fmt.Fprintln(w, refuse)
		return
	}
	me := &watching{selector: r.URL.Query().Get("fieldSelector"), lines: make(chan string, 1024)}
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	s.mu.Lock()
	for _, h := range c.history { // since the client listed
		if h.version > since && selects(me.selector, h.object) {
			me.lines <- h.line()
		}
	}
	c.watches = append(c.watches, me)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.watches = slices.DeleteFunc(c.watches, func(o *watching) bool { return o == me })
	}()
	w.(http.Flusher).Flush()
	for {
		select {
		case line, ok := <-me.lines:
			if !ok {
				return
			}
			fmt.Fprint(w, line)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// patchNode merges conditions by their type, as the API server does.
func (s *apiServer) patchNode(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches = append(s.patches, string(body))
	var patch struct {
		Status struct{ Conditions []map[string]any }
	}
	switch {
	case s.patchStatus != 0:
		w.WriteHeader(s.patchStatus)
		fmt.Fprint(w, `{"kind":"Status","message":"not today"}`)
		return
	case err != nil, r.Method != http.MethodPatch, r.Header.Get("Content-Type") != "application/strategic-merge-patch+json", json.Unmarshal(body, &patch) != nil:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status := s.node["status"].(map[string]any)
	conditions, _ := status["conditions"].([]map[string]any)
	for _, x := range patch.Status.Conditions {
		i := slices.IndexFunc(conditions, func(c map[string]any) bool { return c["type"] == x["type"] })
		if i < 0 {
			conditions = append(conditions, x)
			continue
		}
		conditions[i] = maps.Clone(conditions[i])
		maps.Copy(conditions[i], x)
	}
	status["conditions"] = conditions
	s.version++
	s.node["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(s.version)
	s.tell("MODIFIED", s.node)
	_ = json.NewEncoder(w).Encode(s.node)
}

// mark sets the Node's labels and annotations.
func (s *apiServer) mark(labels, annotations map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	meta := maps.Clone(s.node["metadata"].(map[string]any))
	meta["labels"], meta["annotations"], meta["resourceVersion"] = labels, annotations, fmt.Sprint(s.version)
	s.node = maps.Clone(s.node)
	s.node["metadata"] = meta
	s.tell("MODIFIED", s.node)
}

// conditions are the Node's, by type.
func (s *apiServer) conditions() map[string]map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[string]any{}
	conditions, _ := s.node["status"].(map[string]any)["conditions"].([]map[string]any)
	for _, c := range conditions {
		all[c["type"].(string)] = maps.Clone(c)
	}
	return all
}

// count is how many requests begin with a text.
func (s *apiServer) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// with changes the server's settings.
func (s *apiServer) with(change func(*apiServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}
