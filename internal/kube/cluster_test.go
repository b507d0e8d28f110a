package kube_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube"
)

type object = map[string]any

// becomes waits until a part of the facts is as wanted.
func becomes[T any](t *testing.T, c *kube.Client, what string, want T, part func(kube.Facts) T) {
	t.Helper()
	var diff string
	ok := func() bool {
		f, known := c.Node()
		diff = cmp.Diff(want, part(f))
		return known && diff == ""
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s (-want +got):\n%s", what, diff)
		}
	}()
	eventually(t, what, ok)
}

func overrides(f kube.Facts) []pool.Overrides { return f.Overrides }

func TestENIConfigIsFollowed(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(eniconfigsPath, "us-west-2a", object{"spec": object{"subnet": "subnet-a", "securityGroups": []string{"sg-1", "sg-2", "sg-1"}}})
	s.put(eniconfigsPath, "other", object{"spec": object{"subnet": "subnet-0"}})
	s.mark(object{"topology.kubernetes.io/zone": "us-west-2a"}, nil)
	c := start(t, kube.Config{
		Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true, Keys: profile.Keys{Label: "topology.kubernetes.io/zone"},
	})
	is := func(what string, want kube.ENIConfig) {
		t.Helper()
		becomes(t, c, what, want, func(f kube.Facts) kube.ENIConfig { return f.ENIConfig })
	}
	missing := func(name string) string {
		return "there is no ENIConfig " + name + "; create it, or label the node with vpc.amazonaws.com/externalEniConfig=<name of one>; kubectl get eniconfigs lists them"
	}
	zone := "label topology.kubernetes.io/zone"
	is("the zone's", kube.ENIConfig{Name: "us-west-2a", Found: true, From: zone, Subnet: "subnet-a", Groups: []vpc.SecurityGroupID{"sg-1", "sg-2"}})
	s.put(eniconfigsPath, "us-west-2a", object{"spec": object{"subnet": "subnet-b"}})
	is("changed", kube.ENIConfig{Name: "us-west-2a", Found: true, From: zone, Subnet: "subnet-b"})
	s.put(eniconfigsPath, "other", object{"spec": object{"subnet": "subnet-1"}})
	s.breakWatches("")
	s.put(eniconfigsPath, "us-west-2a", object{"spec": object{"subnet": "subnet-c"}})
	is("changed while the watch was broken", kube.ENIConfig{Name: "us-west-2a", Found: true, From: zone, Subnet: "subnet-c"})
	s.remove(eniconfigsPath, "us-west-2a")
	is("deleted", kube.ENIConfig{Name: "us-west-2a", From: zone, Why: missing("us-west-2a")})
	s.mark(object{"vpc.amazonaws.com/externalEniConfig": "other", "topology.kubernetes.io/zone": "us-west-2a"}, nil)
	is("named anew", kube.ENIConfig{Name: "other", Found: true, From: "label vpc.amazonaws.com/externalEniConfig", Subnet: "subnet-1"})
	s.mark(nil, nil)
	is("named no more", kube.ENIConfig{Name: "default", From: "no label or annotation names one", Why: missing("default")})
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-d"}})
	is("made", kube.ENIConfig{Name: "default", Found: true, From: "no label or annotation names one", Subnet: "subnet-d"})
	if n := s.count("GET " + eniconfigsPath + "?resourceVersion"); n != 0 {
		t.Errorf("%d times all ENIConfigs were asked for", n)
	}
}

func TestENIConfigThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		label  string
		object object
		want   kube.ENIConfig
	}{
		{"no spec", "a", object{}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec.subnet names no subnet"}},
		{"spec null", "a", object{"spec": nil}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec.subnet names no subnet"}},
		{"spec is text", "a", object{"spec": "subnet-1"}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec cannot be read (json: cannot unmarshal string into Go value"}},
		{"empty subnet", "a", object{"spec": object{"subnet": ""}}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec.subnet names no subnet"}},
		{"subnet is a number", "a", object{"spec": object{"subnet": 7}}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec cannot be read"}},
		{"subnet is a block", "a", object{"spec": object{"subnet": "10.0.0.0/24"}}, kube.ENIConfig{Found: true, Why: `ENIConfig a: spec.subnet "10.0.0.0/24" is no subnet's id`}},
		{"subnet with a space", "a", object{"spec": object{"subnet": " subnet-1"}}, kube.ENIConfig{Found: true, Why: `ENIConfig a: spec.subnet " subnet-1" is no subnet's id`}},
		{
			"a group is no id: not those of the primary interface instead", "a",
			object{"spec": object{"subnet": "subnet-1", "securityGroups": []string{"sg-1", "web"}}},
			kube.ENIConfig{Found: true, Why: `ENIConfig a: "web" in spec.securityGroups is no security group's id`},
		},
		{"groups are text", "a", object{"spec": object{"subnet": "subnet-1", "securityGroups": "sg-1"}}, kube.ENIConfig{Found: true, Why: "ENIConfig a: spec cannot be read"}},
		{"groups are empty", "a", object{"spec": object{"subnet": "subnet-1", "securityGroups": []string{}}}, kube.ENIConfig{Found: true, Subnet: "subnet-1"}},
		{"a name that no object can have", "Zone_A", nil, kube.ENIConfig{Why: `no ENIConfig can have the name "Zone_A"`}},
		{"a name with a selector in it", "a,metadata.name=b", nil, kube.ENIConfig{Why: "no ENIConfig can have the name"}},
		{"a label with an empty value", "", object{"spec": object{"subnet": "subnet-1"}}, kube.ENIConfig{Why: "there is no ENIConfig default"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.mark(object{profile.DefaultKey: test.label}, nil)
			if test.object != nil {
				s.put(eniconfigsPath, "a", test.object)
			}
			c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true})
			var got kube.ENIConfig
			eventually(t, "an answer", func() bool {
				f, ok := c.Node()
				got = f.ENIConfig
				return ok && !strings.Contains(got.Why, "not read yet")
			})
			if !strings.HasPrefix(got.Why, test.want.Why) || (got.Why == "") != (test.want.Why == "") {
				t.Errorf("why %q, want %q", got.Why, test.want.Why)
			}
			if got.Found != test.want.Found || got.Subnet != test.want.Subnet || len(got.Groups) != 0 {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestENIConfigIsNotKnownToTheCluster(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) {
		s.collections[eniconfigsPath].absent, s.collections[settingsPath].absent = true, true
	})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true})
	becomes(t, c, "the reason", true, func(f kube.Facts) bool {
		return strings.Contains(f.ENIConfig.Why, "does not know the resource ENIConfig")
	})
	eventually(t, "no trouble: nobody installed settings", func() bool { return c.Trouble() == "" })
}

// TestSlowStartIsNoMissingENIConfig: an API server that is only just up answers some requests and not others.
func TestSlowStartIsNoMissingENIConfig(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-1"}})
	s.put(settingsPath, "x", object{"spec": object{"nodeSelector": object{}, "pool": object{"warmIPTarget": 5}}})
	s.with(func(s *apiServer) { s.refusals = map[string]int{eniconfigsPath: 2, settingsPath: 2} })
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true})
	<-c.Changes()
	if f, ok := c.Node(); !ok || !f.ENIConfig.Found || len(f.Overrides) != 1 {
		t.Errorf("the first word is %+v", f)
	}
}

// TestChangeIsToldWhileAnotherWatchIsBroken: what is not served must not hide what is.
func TestChangeIsToldWhileAnotherWatchIsBroken(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "the node", 29, func(f kube.Facts) int { return f.MaxPods })
	s.with(func(s *apiServer) { s.refusals = map[string]int{settingsPath: 1000} })
	s.breakWatches("")
	eventually(t, "trouble", func() bool { return strings.Contains(c.Trouble(), "nodesettings") })
	for pods := range 20 {
		for len(c.Changes()) > 0 {
			<-c.Changes()
		}
		s.set(pods+1, false)
		select {
		case <-c.Changes():
		case <-time.After(10 * time.Second):
			t.Fatalf("nobody told of %d pods", pods+1)
		}
	}
}

// TestNobodyWaitsForever: what the API server never serves is done without.
func TestNobodyWaitsForever(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) { s.refusals = map[string]int{settingsPath: 1000} })
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "the node", 29, func(f kube.Facts) int { return f.MaxPods })
	if !strings.Contains(c.Trouble(), "nodesettings: list: ") {
		t.Errorf("trouble %q", c.Trouble())
	}
}

func TestENIConfigIsNotAskedForWithoutCustomNetworking(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-1"}})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "zero", kube.ENIConfig{}, func(f kube.Facts) kube.ENIConfig { return f.ENIConfig })
	eventually(t, "the pods were asked for", func() bool { return s.count("GET "+podsPath) > 0 })
	if n := s.count("GET " + eniconfigsPath); n != 0 {
		t.Errorf("ENIConfigs were asked for %d times", n)
	}
}

func selector(key, value string) object { return object{"matchLabels": object{key: value}} }

func TestSettingsThatSelectTheNode(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.mark(object{"group": "jobs"}, nil)
	s.put(settingsPath, "everywhere", object{"spec": object{"nodeSelector": object{}, "pool": object{"warmIPTarget": 5}}})
	s.put(settingsPath, "b", object{"spec": object{"nodeSelector": selector("group", "jobs"), "priority": 10, "pool": object{"warmIPTarget": 0, "ipCooldownPeriod": "1m"}}})
	s.put(settingsPath, "a", object{"spec": object{"nodeSelector": selector("group", "jobs"), "priority": 10, "prefixDelegation": true}})
	s.put(settingsPath, "elsewhere", object{"spec": object{"nodeSelector": selector("group", "web"), "priority": 99, "subnetDiscovery": false}})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	everywhere := pool.Overrides{Name: "everywhere", WarmIP: new(5)}
	a := pool.Overrides{Name: "a", Priority: 10, PrefixDelegation: new(true)}
	b := pool.Overrides{Name: "b", Priority: 10, WarmIP: new(0), Cooldown: new(time.Minute)}
	becomes(t, c, "by priority, then by name", []pool.Overrides{a, b, everywhere}, overrides)
	s.mark(object{"group": "web"}, nil)
	becomes(t, c, "the node's labels changed", []pool.Overrides{{Name: "elsewhere", Priority: 99, Discovery: new(false)}, everywhere}, overrides)
	s.remove(settingsPath, "elsewhere")
	becomes(t, c, "deleted", []pool.Overrides{everywhere}, overrides)
	s.put(settingsPath, "everywhere", object{"spec": object{"nodeSelector": object{"matchExpressions": []any{object{"key": "group", "operator": "Exists"}}}, "reservePrefixes": true}})
	becomes(t, c, "changed", []pool.Overrides{{Name: "everywhere", ReservePrefixes: new(true)}}, overrides)
	s.breakWatches("")
	s.remove(settingsPath, "everywhere")
	becomes(t, c, "deleted while the watch was broken", nil, overrides)
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	all := object{}
	for _, test := range []struct {
		name    string
		spec    any
		want    []pool.Overrides
		refused string // one; none when empty
	}{
		{"no spec", nil, nil, "NodeSettings x: spec.nodeSelector: it is missing; {} selects all nodes"},
		{"spec is text", "x", nil, "NodeSettings x: spec cannot be read"},
		{"no selector", object{"pool": object{"warmIPTarget": 1}}, nil, "NodeSettings x: spec.nodeSelector: it is missing"},
		{
			"a selector that means nothing",
			object{"nodeSelector": object{"matchExpressions": []any{object{"key": "a", "operator": "Like", "values": []string{"b"}}}}},
			nil, `NodeSettings x: spec.nodeSelector: "Like" is not a valid label selector operator`,
		},
		{"a wrong type", object{"nodeSelector": all, "pool": object{"warmIPTarget": "five"}}, nil, "NodeSettings x: spec cannot be read"},
		{"half a number", object{"nodeSelector": all, "pool": object{"warmIPTarget": 1.5}}, nil, "NodeSettings x: spec cannot be read"},
		{"a wrong type, for other nodes", object{"nodeSelector": selector("group", "web"), "pool": object{"warmIPTarget": "five"}}, nil, ""},
		{"a period that is none", object{"nodeSelector": all, "pool": object{"ipCooldownPeriod": "soon"}}, nil, "NodeSettings x: spec cannot be read"},
		{
			"out of range: the rest counts",
			object{"nodeSelector": all, "pool": object{"warmIPTarget": -1, "maxENI": 3}},
			[]pool.Overrides{{Name: "x", MaxENI: new(3)}},
			"NodeSettings x: spec.pool.warmIPTarget -1 is not from 0 to 10000",
		},
		{
			"a period out of range",
			object{"nodeSelector": all, "pool": object{"ipCooldownPeriod": "25h"}},
			[]pool.Overrides{{Name: "x"}},
			"NodeSettings x: spec.pool.ipCooldownPeriod 25h0m0s is not from 0s to 1h",
		},
		{"fields of a later version", object{"nodeSelector": all, "datapath": object{"mtu": 1500}, "priority": 3}, []pool.Overrides{{Name: "x", Priority: 3}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.put(settingsPath, "x", object{"spec": test.spec})
			s.put(settingsPath, "z", object{"spec": object{"nodeSelector": object{}, "priority": -5, "prefixDelegation": false}})
			c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
			becomes(t, c, "overrides", append(test.want, pool.Overrides{Name: "z", Priority: -5, PrefixDelegation: new(false)}), overrides)
			f, _ := c.Node()
			switch {
			case test.refused == "" && len(f.Refused) > 0, test.refused != "" && (len(f.Refused) != 1 || !strings.HasPrefix(f.Refused[0], test.refused)):
				t.Errorf("refused %q, want %q", f.Refused, test.refused)
			case test.refused != "" && !strings.HasSuffix(f.Refused[0], "; kubectl edit nodesettings x"):
				t.Errorf("refused %q does not say what to type", f.Refused)
			}
		})
	}
}

func TestSettingsInContradiction(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(settingsPath, "b", object{"spec": object{"nodeSelector": object{}, "pool": object{"warmIPTarget": 2}}})
	s.put(settingsPath, "a", object{"spec": object{"nodeSelector": object{}, "pool": object{"warmIPTarget": 1}}})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "overrides", []pool.Overrides{{Name: "a", WarmIP: new(1)}, {Name: "b", WarmIP: new(2)}}, overrides)
	f, _ := c.Node()
	config, against := pool.Config{WarmIP: 9}.With(f.Overrides)
	if config.WarmIP != 1 || len(against) != 1 {
		t.Errorf("warm IPs %d, contradictions %q", config.WarmIP, against)
	}
}

func boundPod(name string, host bool, phase, ip string) object {
	return object{
		"metadata": object{"namespace": "default", "uid": "uid-" + name, "annotations": object{"long": strings.Repeat("x", 50_000)}},
		"spec":     object{"nodeName": "node-1", "hostNetwork": host}, "status": object{"phase": phase, "podIP": ip},
	}
}

func TestBoundPods(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(podsPath, "waits", boundPod("waits", false, "Pending", ""))
	s.put(podsPath, "runs", boundPod("runs", false, "Running", "10.0.0.1"))
	s.put(podsPath, "host", boundPod("host", true, "Pending", ""))
	s.put(podsPath, "failed", boundPod("failed", false, "Failed", ""))
	s.put(podsPath, "done", boundPod("done", false, "Succeeded", ""))
	elsewhere := boundPod("elsewhere", false, "Pending", "")
	elsewhere["spec"].(object)["nodeName"] = "node-2"
	s.put(podsPath, "elsewhere", elsewhere)
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	is := func(what string, want ...kube.Bound) {
		t.Helper()
		becomes(t, c, what, want, func(f kube.Facts) []kube.Bound { return f.Bound })
	}
	bound := func(name string, leaving bool) kube.Bound {
		return kube.Bound{Namespace: "default", Name: name, UID: "uid-" + name, Leaving: leaving}
	}
	is("the one that waits", bound("waits", false))
	s.put(podsPath, "another", boundPod("another", false, "Pending", ""))
	is("another one is bound", bound("another", false), bound("waits", false))
	s.put(podsPath, "waits", boundPod("waits", false, "Pending", "10.0.0.2"))
	is("it has an address", bound("another", false))
	leaving := boundPod("another", false, "Pending", "")
	leaving["metadata"].(object)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	s.put(podsPath, "another", leaving)
	is("it is being deleted", bound("another", true))
	s.remove(podsPath, "another")
	is("it is gone")
	s.breakWatches(`{"type":"ERROR","object":{"message":"too old"}}`)
	s.put(podsPath, "late", boundPod("late", false, "Pending", ""))
	is("bound while the watch was broken", bound("late", false))
}

// TestRelistGoesNotBackInTime: one of several servers lags behind, and has the ENIConfig as it was.
func TestRelistGoesNotBackInTime(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-1"}})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true})
	subnet := func(f kube.Facts) vpc.SubnetID { return f.ENIConfig.Subnet }
	becomes(t, c, "listed", "subnet-1", subnet)
	lists := "GET " + eniconfigsPath + "?fieldSelector=metadata.name%3Ddefault&resourceVersion="
	if s.count(lists+"0") != 1 {
		t.Errorf("the first list is not from the server's cache: %q", s.requests)
	}
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-2"}})
	becomes(t, c, "watched", "subnet-2", subnet)
	var version int
	s.with(func(s *apiServer) { version = s.version })
	s.breakWatches("")
	eventually(t, "listed again, from there on", func() bool { return s.count(fmt.Sprint(lists, version)) == 1 })
	s.with(func(s *apiServer) { s.version, s.collections[eniconfigsPath].history = 1, nil }) // set back from a backup
	s.breakWatches("")
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-3"}})
	becomes(t, c, "a version that no server has is forgotten", "subnet-3", subnet)
}

func TestManyBoundPods(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	for i := range 700 {
		name := fmt.Sprintf("pod-%03d", i)
		p := boundPod(name, false, "Pending", "")
		delete(p["metadata"].(object), "annotations") // the race detector would take half a minute for them
		s.put(podsPath, name, p)
	}
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "all", 700, func(f kube.Facts) int { return len(f.Bound) })
}

func TestWaitingPodsAreCounted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		minor          string
		waiting, nodes int
		cordoned       bool
		want           [2]int
		asked          bool
	}{
		{"none", "35", 0, 5, false, [2]int{0, 0}, true},
		{"some", "35", 7, 5, false, [2]int{7, 5}, true},
		{"more than are counted", "36+", 100_000, 5000, false, [2]int{500, 5000}, true},
		{"EKS has a longer version", "35-eks-1a2b3c", 7, 5, false, [2]int{7, 5}, true},
		{"a server that would read all pods for it", "34", 7, 5, false, [2]int{0, 0}, false},
		{"a version that is none", "", 7, 5, false, [2]int{0, 0}, false},
		{"the node takes no pods", "35", 7, 5, true, [2]int{0, 0}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.with(func(s *apiServer) { s.minor, s.waiting, s.nodes = test.minor, test.waiting, test.nodes })
			s.set(29, test.cordoned)
			c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
			eventually(t, "the version was asked for", func() bool { return s.count("GET /version") > 0 })
			counts := "GET " + podsPath + "?fieldSelector=spec.nodeName%3D%2Cstatus.phase%3DPending"
			if test.asked {
				eventually(t, "counted", func() bool { return s.count(counts) > 0 })
			}
			becomes(t, c, "counts", test.want, func(f kube.Facts) [2]int { return [2]int{f.Unscheduled, f.Nodes} })
			if asked := s.count(counts) > 0; asked != test.asked {
				t.Errorf("pods were counted: %t", asked)
			}
			if test.cordoned {
				s.set(29, false)
				becomes(t, c, "uncordoned", [2]int{7, 5}, func(f kube.Facts) [2]int { return [2]int{f.Unscheduled, f.Nodes} })
			}
		})
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) {
		s.node["status"].(object)["conditions"] = []object{{"type": "Ready", "status": "True", "reason": "KubeletReady"}, {"type": "BerthSettings", "status": "True", "reason": "SettingsTaken", "message": "m"}}
	})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	c.Condition(kube.Condition{Type: "BerthSettings", Status: true, Reason: "SettingsTaken", Message: "m"}) // as it is
	bad := kube.Condition{Type: "BerthAddressing", Reason: "SubnetMissing", Message: "there is no subnet-1"}
	c.Condition(bad)
	eventually(t, "written", func() bool { return s.conditions()["BerthAddressing"] != nil })
	got := s.conditions()
	if x := got["BerthAddressing"]; x["status"] != "False" || x["reason"] != "SubnetMissing" || x["message"] != bad.Message || x["lastTransitionTime"] == nil {
		t.Errorf("condition %v", x)
	}
	if got["Ready"]["reason"] != "KubeletReady" {
		t.Errorf("the kubelet's condition: %v", got["Ready"])
	}
	for i := range 20 { // words only: not written for each
		bad.Message = fmt.Sprint("another message ", i)
		c.Condition(bad)
	}
	c.Event(kube.Event{Namespace: "default", Pod: "web", UID: "u", Reason: "r", Message: "m"})
	eventually(t, "something later was sent", func() bool { return len(s.seen()) == 1 })
	s.with(func(s *apiServer) {
		if len(s.patches) != 1 {
			t.Errorf("patches %q", s.patches)
		}
	})
}

func TestConditionIsWrittenAgain(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) { s.patchStatus = http.StatusInternalServerError })
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	c.Condition(kube.Condition{Type: "BerthAddressing", Reason: "SubnetMissing", Message: "m"})
	eventually(t, "tried", func() bool { return s.count("PATCH /api/v1/nodes/node-1/status") > 0 })
	s.with(func(s *apiServer) { s.patchStatus = 0 })
	eventually(t, "tried again", func() bool { return s.conditions()["BerthAddressing"] != nil })
}

func TestConditionThatIsRefusedIsNotTriedAtOnce(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) { s.patchStatus = http.StatusForbidden })
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	for i := range 50 {
		c.Condition(kube.Condition{Type: "BerthAddressing", Status: i%2 == 0, Reason: "x"})
		s.set(29+i, false)
	}
	becomes(t, c, "the last change of the node", 78, func(f kube.Facts) int { return f.MaxPods })
	eventually(t, "tried", func() bool { return s.count("PATCH /api/v1/nodes/node-1/status") > 0 })
	if n := s.count("PATCH /api/v1/nodes/node-1/status"); n != 1 {
		t.Errorf("tried %d times", n)
	}
}

func TestEventOnTheNode(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	becomes(t, c, "the node", 29, func(f kube.Facts) int { return f.MaxPods })
	for range 2 {
		c.Event(kube.Event{Node: true, Warning: true, Reason: "SubnetMissing", Message: "m"})
	}
	eventually(t, "one event", func() bool { return len(s.seen()) == 1 })
	e := s.seen()[0]
	want := object{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-uid"}
	if diff := cmp.Diff(want, e["involvedObject"]); diff != "" || e["metadata"].(object)["namespace"] != "default" {
		t.Errorf("event %v:\n%s", e, diff)
	}
}
