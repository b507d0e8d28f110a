package kube_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/kube"
)

func TestNodeIsFollowed(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	server := serve(t, s)
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, server.URL)})
	is := func(pods int, schedulable bool) func() bool {
		return func() bool {
			f, ok := c.Node()
			return ok && f.MaxPods == pods && f.Schedulable == schedulable
		}
	}
	eventually(t, "first read", is(29, true))
	<-c.Changes()
	s.set(29, true)
	eventually(t, "cordoned", is(29, false))
	<-c.Changes()
	s.breakWatches("")
	s.set(110, false)
	eventually(t, "changed while the watch was broken", is(110, true))
	s.breakWatches(`{"type":"ERROR","object":{"message":"too old resource version","code":410}}`)
	s.set(58, false)
	eventually(t, "changed after the version was too old", is(58, true))
	s.breakWatches(`{"type":"MOD`)
	s.set(17, true)
	eventually(t, "changed after garbage", is(17, false))
	eventually(t, "no trouble is left", func() bool { return c.Trouble() == "" })
	if !s.asked("berth/test") {
		t.Error("no request had the user agent berth/test")
	}
}

func TestServerAway(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.setRefuse(503)
	server := serve(t, s)
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, server.URL)})
	c.Event(kube.Event{Namespace: "default", Pod: "web", UID: "u", Reason: "WaitingForAddress", Message: "m"})
	eventually(t, "trouble is told", func() bool { return strings.Contains(c.Trouble(), "out of order") })
	if _, ok := c.Node(); ok {
		t.Error("the node is known although the server never answered")
	}
	s.setRefuse(0)
	eventually(t, "recovery", func() bool { _, ok := c.Node(); return ok && c.Trouble() == "" })
	eventually(t, "the event that waited", func() bool { return len(s.seen()) == 1 })
	s.setRefuse(500)
	s.breakWatches("")
	eventually(t, "trouble is told again", func() bool { return c.Trouble() != "" })
	if f, ok := c.Node(); !ok || f.MaxPods != 29 {
		t.Errorf("the last word is lost: %+v %t", f, ok)
	}
}

func TestUnreadableKubeconfigHeals(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	server := serve(t, s)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte("{ this is no yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, kube.Config{Kubeconfig: path})
	eventually(t, "trouble names the file", func() bool { return strings.Contains(c.Trouble(), path) })
	good, err := os.ReadFile(kubeconfig(t, server.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file was repaired", func() bool { _, ok := c.Node(); return ok })
}

func TestEndpointOverride(t *testing.T) {
	t.Parallel()
	server := serve(t, newAPIServer())
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, "http://127.0.0.1:1"), Endpoint: server.URL})
	eventually(t, "the node by the other address", func() bool { _, ok := c.Node(); return ok })
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	waiting := kube.Event{Namespace: "default", Pod: "web", UID: "uid-1", Warning: true, Reason: "WaitingForAddress", Message: "subnets-full: subnet-1 has no free address", Action: "AssignAddress"}
	c.Event(waiting)
	eventually(t, "first event", func() bool { return len(s.seen()) == 1 })
	e := s.seen()[0]
	object := e["involvedObject"].(map[string]any)
	if object["kind"] != "Pod" || object["name"] != "web" || object["uid"] != "uid-1" || e["type"] != "Warning" || e["reason"] != "WaitingForAddress" ||
		e["reportingComponent"] != "aws-node" || e["action"] != "AssignAddress" || e["reportingInstance"] != "aws-node-x" {
		t.Errorf("event %+v", e)
	}

	waiting.Message = "now another reason"
	c.Event(waiting)
	eventually(t, "the repeat is merged", func() bool { return s.seen()[0]["count"] == 2.0 && s.seen()[0]["message"] == "now another reason" })
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d events", n)
	}

	s.expireEvents()
	c.Event(waiting)
	eventually(t, "an expired event is made anew", func() bool { return len(s.seen()) == 1 && s.seen()[0]["count"] == 1.0 })

	c.Event(kube.Event{Reason: "MissingIAMPermissions", Message: "m", Warning: true, Action: "ec2:CreateTags"})
	eventually(t, "the own pod's event has its UID", func() bool {
		all := s.seen()
		return len(all) == 2 && all[1]["involvedObject"].(map[string]any)["uid"] == "own-uid" && all[1]["metadata"].(map[string]any)["namespace"] == "kube-system"
	})
}

func TestEventsNeverBlock(t *testing.T) {
	t.Parallel()
	c := kube.New(kube.Config{Kubeconfig: "/no/such/file", Pod: "p"})
	for i := range 10_000 {
		c.Event(kube.Event{Namespace: "default", Pod: strings.Repeat("x", i%600+1), Reason: "r"})
	}
}

func TestLongMessageIsCut(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	c.Event(kube.Event{Namespace: "default", Pod: "web", UID: "u", Reason: "r", Message: strings.Repeat("ä", 2000)})
	eventually(t, "event", func() bool { return len(s.seen()) == 1 })
	if m := s.seen()[0]["message"].(string); len(m) > 1024 || !strings.HasSuffix(m, "ä…") {
		t.Errorf("message of %d bytes ends in %q", len(m), m[len(m)-10:])
	}
}
