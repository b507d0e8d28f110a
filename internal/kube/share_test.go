package kube_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/kube"
)

const configMapsPath = "/api/v1/namespaces/kube-system/configmaps"

// told is what the client told of the share.
type told struct {
	mu     sync.Mutex
	d      budget.Division
	hungry bool
	until  time.Time
	fails  int // so often it is not heard
	times  int
}

func (o *told) divide(d budget.Division, hungry bool, until time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fails > 0 {
		o.fails--
		return errors.New("the region is not known yet")
	}
	o.d, o.hungry, o.until = d, hungry, until
	o.times++
	return nil
}

func (o *told) is(ok func(o *told) bool) func() bool {
	return func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return ok(o)
	}
}

func shareMap(s kube.Share) map[string]any {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return map[string]any{"data": map[string]any{"share": string(text)}}
}

func share(made time.Time, hungry int) kube.Share {
	return kube.Share{Made: made, Seconds: 90, Division: budget.Divide(hungry, 1500, 1)}
}

func TestShareReachesTheBudget(t *testing.T) {
	s := newAPIServer()
	s.collections[configMapsPath] = &collection{}
	made := time.Now().Add(-5 * time.Minute).UTC() // clocks differ
	s.put(configMapsPath, "berth-ec2-share", shareMap(share(made, 1000)))
	s.put(configMapsPath, "other", map[string]any{"data": map[string]any{"share": "x"}})
	o := &told{fails: 1}
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), Divide: o.divide})
	eventually(t, "the share is told", o.is(func(o *told) bool { return o.d.Hungry == 1000 && len(o.d.Portions) == 4 && !o.hungry }))
	got, until := c.Share()
	if left := time.Until(until); got == nil || got.Hungry != 1000 || left < 75*time.Second || left > 90*time.Second {
		t.Errorf("share %+v for %s", got, left)
	}

	s.put(podsPath, "pod-1", podOn("node-1", "uid-1"))
	eventually(t, "the node is hungry", o.is(func(o *told) bool { return o.hungry }))
	s.remove(podsPath, "pod-1")
	eventually(t, "the node is fed", o.is(func(o *told) bool { return !o.hungry }))

	// The same word again, as after a watch that broke, counts no longer.
	s.put(configMapsPath, "berth-ec2-share", shareMap(share(made, 1000)))
	s.breakWatches("")
	s.put(podsPath, "pod-2", podOn("node-1", "uid-2"))
	eventually(t, "the node is hungry again", o.is(func(o *told) bool { return o.hungry }))
	if _, again := c.Share(); !again.Equal(until) {
		t.Errorf("a word that was seen counts until %s, before until %s", again, until)
	}

	s.put(configMapsPath, "berth-ec2-share", shareMap(share(made.Add(time.Minute), 500)))
	eventually(t, "the next word is told", o.is(func(o *told) bool { return o.d.Hungry == 500 }))
	s.remove(configMapsPath, "berth-ec2-share")
	eventually(t, "the share is gone", o.is(func(o *told) bool { return len(o.d.Portions) == 0 }))
	if got, _ := c.Share(); got != nil {
		t.Errorf("share %+v", got)
	}
	eventually(t, "nothing is wrong", func() bool { return c.Trouble() == "" })
}

// podOn is a pod that waits for an address.
func podOn(node, uid string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"uid": uid, "namespace": "default"}, "spec": map[string]any{"nodeName": node}, "status": map[string]any{"phase": "Pending"},
	}
}

func TestShareThatMakesNoSense(t *testing.T) {
	now := time.Now().UTC()
	good, _ := json.Marshal(share(now, 1000))
	for name, text := range map[string]string{
		"no JSON":            "garbage",
		"a list":             "[1,2]",
		"no time":            `{"seconds":90,"hungry":1,"nodes":1}`,
		"for ever":           strings.Replace(string(good), `"seconds":90`, `"seconds":86400`, 1),
		"for no time":        strings.Replace(string(good), `"seconds":90`, `"seconds":-1`, 1),
		"fewer nodes":        strings.Replace(string(good), `"nodes":1500`, `"nodes":3`, 1),
		"less than nothing":  strings.Replace(string(good), `"rate":`, `"rate":-`, 1),
		"numbers as text":    strings.Replace(string(good), `"hungry":1000`, `"hungry":"many"`, 1),
		"more than a number": strings.Replace(string(good), `"rate":0`, `"rate":1e999`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.collections[configMapsPath] = &collection{}
			s.put(configMapsPath, "berth-ec2-share", map[string]any{"data": map[string]any{"share": text}})
			o := &told{}
			c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), Divide: o.divide})
			eventually(t, "it is said", func() bool {
				return strings.Contains(c.Trouble(), "ConfigMap kube-system/berth-ec2-share is ignored")
			})
			if o.is(func(o *told) bool { return len(o.d.Portions) > 0 })() {
				t.Errorf("told %+v", o.d)
			}
			s.put(configMapsPath, "berth-ec2-share", shareMap(share(now, 700)))
			eventually(t, "the next word is told", o.is(func(o *told) bool { return o.d.Hungry == 700 }))
			eventually(t, "nothing is wrong any more", func() bool { return c.Trouble() == "" })
		})
	}
}

// A controller that died days ago has left its last word.
func TestShareOfADeadController(t *testing.T) {
	s := newAPIServer()
	s.collections[configMapsPath] = &collection{}
	s.put(configMapsPath, "berth-ec2-share", shareMap(share(time.Now().Add(-time.Hour), 1000)))
	o := &told{}
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), Divide: o.divide})
	eventually(t, "it was read", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.requests, func(r string) bool { // the list was taken before
			return strings.Contains(r, "configmaps") && strings.Contains(r, "watch=")
		})
	})
	eventually(t, "something is told", o.is(func(o *told) bool { return o.times > 0 }))
	if got, _ := c.Share(); got != nil || o.is(func(o *told) bool { return len(o.d.Portions) > 0 })() {
		t.Errorf("share %+v", got)
	}
	eventually(t, "nothing is wrong", func() bool { return c.Trouble() == "" }) // the node itself may be read later
}

func TestNobodyAsksForAShareWithoutAController(t *testing.T) {
	s := newAPIServer()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	eventually(t, "the node is known", func() bool { _, ok := c.Node(); return ok })
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.requests, func(r string) bool { return strings.Contains(r, "configmaps") }) {
		t.Errorf("asked %q", s.requests)
	}
}

func observer(t *testing.T, s *apiServer) *kube.Observer {
	t.Helper()
	return kube.NewObserver(kube.Config{
		Kubeconfig: kubeconfig(t, serve(t, s).URL), PodNamespace: "kube-system", UserAgent: "berth/test", Log: slog.New(slog.DiscardHandler),
	})
}

func TestCensus(t *testing.T) {
	s := newAPIServer()
	const nodesPath = "/api/v1/nodes"
	s.collections[nodesPath] = &collection{}
	for i := range 3 {
		s.put(nodesPath, fmt.Sprint("node-", i), map[string]any{"metadata": map[string]any{}})
	}
	s.put(nodesPath, "fargate", map[string]any{"metadata": map[string]any{"labels": map[string]any{"eks.amazonaws.com/compute-type": "fargate"}}})
	s.put(podsPath, "a", podOn("node-0", "a"))
	s.put(podsPath, "on-fargate", podOn("fargate", "f"))
	s.put(podsPath, "elsewhere", podOn("node-99", "e"))
	pulls := podOn("node-1", "p")
	pulls["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "PodReadyToStartContainers", "status": "True"}}
	s.put(podsPath, "pulls-an-image", pulls)
	has := podOn("node-1", "h")
	has["status"].(map[string]any)["podIP"] = "10.0.0.1"
	s.put(podsPath, "has-an-address", has)
	o := observer(t, s)
	if _, _, known := o.Census(); known {
		t.Error("known before it was asked")
	}
	follow(t, o)
	census := func(nodes int, on ...string) func() bool {
		return func() bool {
			n, waiting, known := o.Census()
			var got []string
			for _, w := range waiting {
				got = append(got, w.Node)
			}
			slices.Sort(got)
			return known && n == nodes && slices.Equal(got, on)
		}
	}
	eventually(t, "one pod waits", census(3, "node-0"))
	_, waiting, _ := o.Census()
	s.put(podsPath, "b", podOn("node-1", "b"))
	eventually(t, "two wait", census(3, "node-0", "node-1"))
	s.put(podsPath, "a", podOn("node-0", "a")) // another change of it
	s.put(podsPath, "c", podOn("node-0", "c"))
	eventually(t, "three wait", census(3, "node-0", "node-0", "node-1"))
	_, now, _ := o.Census()
	if !slices.Contains(now, waiting[0]) {
		t.Errorf("a pod that changes waits since then: %v, before %v", now, waiting)
	}
	got := podOn("node-1", "b")
	got["status"].(map[string]any)["podIP"] = "10.0.0.2"
	s.put(podsPath, "b", got)
	s.remove(podsPath, "c")
	eventually(t, "one waits", census(3, "node-0"))
	s.remove(nodesPath, "node-0")
	eventually(t, "the node is gone", census(2))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.requests, func(r string) bool {
		return strings.Contains(r, "fieldSelector=spec.nodeName%21%3D%2Cstatus.phase%3DPending%2Cspec.hostNetwork%3Dfalse") && strings.Contains(r, "watch=true")
	}) {
		t.Errorf("asked %q", s.requests)
	}
}

func follow(t *testing.T, o *kube.Observer) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- o.Follow(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
}

func TestPublish(t *testing.T) {
	s := newAPIServer()
	o := observer(t, s)
	made := time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)
	err := o.Publish(t.Context(), share(made, 1000))
	if err == nil || !strings.Contains(err.Error(), "the chart makes it with controller.enabled=true") {
		t.Errorf("without the object: %v", err)
	}
	s.store(configMapsPath+"/berth-ec2-share", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}})
	if err := o.Publish(t.Context(), share(made, 1000)); err != nil {
		t.Fatal(err)
	}
	text := s.stored(configMapsPath + "/berth-ec2-share")["data"].(map[string]any)["share"].(string)
	var got kube.Share
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if len(text) > 1000 || !got.Made.Equal(made) || got.Seconds != 90 || got.Hungry != 1000 || len(got.Portions) != 4 {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

// Who reads that a right is missing should know who gives it.
func TestRightsThatAreMissing(t *testing.T) {
	s := newAPIServer()
	s.collections["/api/v1/nodes"] = &collection{}
	s.collections[configMapsPath] = &collection{}
	s.setRefuse(http.StatusForbidden)
	const hint = "the chart gives the right with controller.enabled=true: run helm upgrade"
	o := observer(t, s)
	_, err := o.ReadLease(t.Context())
	for what, err := range map[string]error{"lease": err, "share": o.Publish(t.Context(), share(time.Now(), 1000))} {
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", what, err)
		}
	}
	follow(t, o)
	eventually(t, "the observer says so", func() bool { return strings.Count(o.Trouble(), hint) == 2 })
	told := &told{}
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), Divide: told.divide})
	eventually(t, "the agent says so", func() bool {
		return strings.Contains(c.Trouble(), "configmaps") && strings.Contains(c.Trouble(), hint)
	})
	s.setRefuse(0)
	eventually(t, "the observer has no trouble any more", func() bool { return o.Trouble() == "" })
	eventually(t, "the agent has no trouble any more", func() bool { return !strings.Contains(c.Trouble(), hint) })
}

func TestLease(t *testing.T) {
	s := newAPIServer()
	o := observer(t, s)
	const path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/berth-controller"
	if _, err := o.ReadLease(t.Context()); err == nil || !strings.Contains(err.Error(), "the chart makes it") {
		t.Errorf("without the object: %v", err)
	}
	s.store(path, map[string]any{"metadata": map[string]any{"resourceVersion": "7", "labels": map[string]any{"a": "b"}}}) // as the chart makes it
	l, err := o.ReadLease(t.Context())
	if err != nil || l.Holder != "" || l.Version != "7" {
		t.Fatalf("lease %+v, %v", l, err)
	}
	l.Holder, l.Duration, l.Transitions = "replica-1", 15*time.Second, 1
	l.Acquired = time.Date(2026, 11, 23, 12, 0, 0, 123_456_000, time.UTC)
	l.Renewed = l.Acquired
	stored, err := o.WriteLease(t.Context(), l)
	if err != nil || stored.Version == "7" || stored.Holder != "replica-1" || stored.Duration != 15*time.Second || !stored.Renewed.Equal(l.Renewed) {
		t.Errorf("stored %+v, %v", stored, err)
	}
	if _, err := o.WriteLease(t.Context(), l); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("on top of another version: %v", err)
	}
	object := s.stored(path)
	if object["metadata"].(map[string]any)["labels"] == nil || object["spec"].(map[string]any)["renewTime"] != "2026-11-23T12:00:00.123456Z" {
		t.Errorf("object %v", object)
	}
}
