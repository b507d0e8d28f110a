package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/enforce"
)

// kernel is a datapath that judges by the tables' own words.
type kernel struct {
	mu       sync.Mutex
	contents tables.Contents
	attached map[int]uint32
	exits    []int
	settled  []int
	applied  []tables.Change
	fail     error
	tries    int
}

func (k *kernel) Apply(_ context.Context, changes []tables.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tries++
	if k.fail != nil {
		k.contents.Apply(changes[:len(changes)/2]) // as far as it came
		return k.fail
	}
	k.contents.Apply(changes)
	k.applied = append(k.applied, changes...)
	return nil
}

func (k *kernel) Attach(ifindex int, slot uint32, _ bool, _ ...netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.attached[ifindex] = slot
	return nil
}

func (k *kernel) Detach(ifindex int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.attached, ifindex)
	k.exits = slices.DeleteFunc(k.exits, func(e int) bool { return e == ifindex })
	return nil
}

func (k *kernel) Settle(ifindex int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled = append(k.settled, ifindex)
	return nil
}

func (k *kernel) AttachExit(ifindex int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.exits = append(k.exits, ifindex)
	return nil
}

func (k *kernel) Attached() (map[int]uint32, []int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.attached), slices.Clone(k.exits), nil
}

// verdict is what happens to a packet to port 80 of an interface's pod; "unjudged" where nothing is attached.
func (k *kernel) verdict(ifindex int, from string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	slot, ok := k.attached[ifindex]
	if !ok {
		return "unjudged"
	}
	if k.contents.Judge(k.contents.Pods[slot].Ingress, netip.MustParseAddr(from), tables.Key(uint8(policy.TCP), 80)).Allow {
		return "allowed"
	}
	return "denied"
}

func (k *kernel) set(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// node is an enforcer with its kernel and API server.
type node struct {
	t *testing.T
	*enforce.Enforcer
	kernel *kernel
	mu     sync.Mutex
	pods   map[string]enforce.Pod // what the API server answers, by name
	asked  int
}

func (n *node) PodOf(_ context.Context, _, name string) (enforce.Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if p, ok := n.pods[name]; ok {
		return p, nil
	}
	return enforce.Pod{}, fmt.Errorf("pods %q not found", name)
}

// start runs an enforcer. It must be called in a bubble.
func start(t *testing.T, attached map[int]uint32) *node {
	t.Helper()
	return startWith(t, attached, enforce.Config{Slots: 4})
}

func startWith(t *testing.T, attached map[int]uint32, cfg enforce.Config) *node {
	t.Helper()
	n := &node{t: t, kernel: &kernel{attached: map[int]uint32{}}, pods: map[string]enforce.Pod{}}
	maps.Copy(n.kernel.attached, attached)
	n.Enforcer = enforce.New(cfg, enforce.Ports{Datapath: n.kernel, Pods: n, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n
}

// listed tells of everything: policies as YAML-less JSON, and pods.
func (n *node) listed(pods []enforce.Pod, policies ...string) {
	for _, kind := range []enforce.Kind{enforce.ClusterNetworkPolicy, enforce.AmazonClusterNetworkPolicy, enforce.ApplicationNetworkPolicy} {
		n.Policies(kind, nil)
	}
	var all []enforce.Object
	for _, text := range policies {
		all = append(all, object(text))
	}
	n.Policies(enforce.NetworkPolicy, all)
	n.Namespaces(map[string]map[string]string{"shop": {"team": "a"}})
	n.Services(nil)
	n.Enforcer.Pods(pods)
}

// object is a NetworkPolicy of namespace shop: its name and the rest of its spec.
func object(text string) enforce.Object {
	name, spec, _ := strings.Cut(text, " ")
	return enforce.Object{
		Kind: enforce.NetworkPolicy, Namespace: "shop", Name: name,
		JSON: fmt.Appendf(nil, `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"namespace":"shop","name":%q},"spec":%s}`, name, spec),
	}
}

const (
	denyAll  = `deny {"podSelector":{},"policyTypes":["Ingress"]}`
	allowWeb = `web {"podSelector":{"matchLabels":{"app":"db"}},"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"web"}}}]}]}`
)

func pod(name, uid, app string, addrs ...string) enforce.Pod {
	p := enforce.Pod{UID: uid, Pod: policy.Pod{Namespace: "shop", Name: name, Labels: map[string]string{"app": app}, Node: "node-1"}}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParseAddr(a))
	}
	return p
}

func attachment(name, uid, addr string, ifindex int) enforce.Attachment {
	return enforce.Attachment{ID: name + "/" + uid, Namespace: "shop", Name: name, UID: uid, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Ifindex: ifindex}
}

// add admits a pod within ten seconds.
func (n *node) add(a enforce.Attachment) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	return n.Admit(ctx, a)
}

func (n *node) expect(ifindex int, from, want string) {
	n.t.Helper()
	synctest.Wait()
	if got := n.kernel.verdict(ifindex, from); got != want {
		n.t.Errorf("interface %d from %s: %s, want %s", ifindex, from, got, want)
	}
}

func TestPodIsJudgedWhenItsADDIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("web-1", "u2", "web", "10.0.0.9")}, denyAll, allowWeb)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		if got := n.kernel.verdict(7, "10.0.0.8"); got != "denied" {
			t.Errorf("a stranger is %s", got)
		}
		if got := n.kernel.verdict(7, "10.0.0.9"); got != "allowed" {
			t.Errorf("who may is %s", got)
		}
	})
}

func TestPeerIsKnownByItsADDBeforeTheAPIServerHasItsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("web-1", "u2", "web")}, denyAll, allowWeb)
		for _, a := range []enforce.Attachment{attachment("db-1", "u1", "10.0.0.5", 7), attachment("web-1", "u2", "10.0.0.9", 8)} {
			if err := n.add(a); err != nil {
				t.Fatal(err)
			}
		}
		n.expect(7, "10.0.0.9", "allowed")
		n.Pod(pod("web-1", "u2", "web"), false) // still without its address
		n.expect(7, "10.0.0.9", "allowed")
	})
}

func TestADDWaitsUntilPoliciesAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		err := n.add(attachment("db-1", "u1", "10.0.0.5", 7))
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "shop/db-1") || !strings.Contains(err.Error(), "namespaces") {
			t.Errorf("%v", err)
		}
		n.Release("db-1/u1")
		answer := make(chan error, 1)
		go func() { answer <- n.add(attachment("db-1", "u1", "10.0.0.5", 7)) }()
		synctest.Wait()
		n.listed([]enforce.Pod{pod("db-1", "u1", "db")}, denyAll)
		if err := <-answer; err != nil {
			t.Error(err)
		}
		n.expect(7, "10.0.0.9", "denied")
	})
}

// The pod of a StatefulSet comes back under its name with other labels, and the watch still shows the one before.
func TestPodIsNotJudgedByTheLabelsOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-0", "old", "free"), pod("web-1", "u2", "web", "10.0.0.9")}, allowWeb)
		n.pods["db-0"] = pod("db-0", "new", "db")
		if err := n.add(attachment("db-0", "new", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		n.expect(7, "10.0.0.8", "denied")
		n.Pod(pod("db-0", "old", "free"), true) // the watch comes to it
		n.expect(7, "10.0.0.8", "denied")
		n.expect(7, "10.0.0.9", "allowed")
		if err := n.add(attachment("db-0", "old", "10.0.0.6", 8)); err == nil {
			t.Error("a pod that the API server does not have is admitted")
		}
		n.expect(8, "10.0.0.8", "unjudged")
	})
}

func TestWhatTheKernelRefusesIsMadeAgainBeforeTheADDIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("web-1", "u2", "web", "10.0.0.9")}, denyAll)
		n.kernel.set(errors.New("map is full"))
		err := n.add(attachment("db-1", "u1", "10.0.0.5", 7))
		if err == nil || !strings.Contains(err.Error(), "map is full") {
			t.Errorf("%v", err)
		}
		if got := n.kernel.verdict(7, "10.0.0.8"); got != "unjudged" {
			t.Errorf("attached before it can be judged: %s", got)
		}
		n.Policy(object(allowWeb), false)
		n.kernel.set(nil)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		n.expect(7, "10.0.0.8", "denied")
		n.expect(7, "10.0.0.9", "allowed")
	})
}

func TestWhatTheKernelRefusesKeepsTheAgentBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.kernel.set(errors.New("no room"))
		n.listed(nil)
		for i := range 600 { // a minute in which the API server tells of something all the time
			n.Namespace("other", map[string]string{"n": fmt.Sprint(i)}, false)
			n.Service(enforce.Service{Namespace: "default", Name: fmt.Sprint("s", i), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 20, byte(i >> 8), byte(i)})}}, false)
			<-time.After(100 * time.Millisecond)
		}
		n.kernel.mu.Lock()
		defer n.kernel.mu.Unlock()
		if n.kernel.tries < 5 || n.kernel.tries > 20 {
			t.Errorf("the kernel was asked %d times in a minute", n.kernel.tries)
		}
	})
}

func TestPodIsJudgedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db")}, denyAll)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		n.Pod(pod("db-1", "u1", "db", "10.0.0.5"), true)
		n.expect(7, "10.0.0.8", "denied")
		n.Enforcer.Pods(nil)
		n.expect(7, "10.0.0.8", "denied")
		n.Release("db-1/u1")
		n.expect(7, "10.0.0.8", "unjudged")
	})
}

func TestAddressOfAPodThatEndedOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("job", "u2", "web", "10.0.0.9")}, allowWeb)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		n.expect(7, "10.0.0.9", "allowed")
		ended := pod("job", "u2", "web", "10.0.0.9")
		ended.Ended = true
		n.Pod(ended, false)
		n.expect(7, "10.0.0.9", "denied")
	})
}

func TestPolicyThatNobodyCanReadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db")}, denyAll)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		o := object(denyAll)
		o.JSON = []byte(`{"spec":7`)
		n.Policy(o, false)
		n.expect(7, "10.0.0.8", "denied")
		n.Policy(object(denyAll), true)
		n.expect(7, "10.0.0.8", "allowed")
	})
}

func TestAgentThatStartsAgainKeepsSlotsAndLetsStrangersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, map[int]uint32{7: 2, 9: 0})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db", "10.0.0.5")}, denyAll)
		synctest.Wait()
		if len(n.kernel.applied) > 0 {
			t.Error("policies are programmed before the node's pods are known")
		}
		n.Sync([]enforce.Attachment{attachment("db-1", "u1", "10.0.0.5", 7)}, enforce.Host{})
		n.expect(7, "10.0.0.8", "denied")
		n.expect(9, "10.0.0.8", "unjudged")
		if slot := n.kernel.attached[7]; slot != 2 {
			t.Errorf("its slot is %d", slot)
		}
		// Of an adopted pod that nobody knows nothing changes.
		if err := n.add(attachment("new", "u9", "10.0.0.6", 10)); err == nil {
			t.Error("a pod that nobody knows is admitted")
		}
	})
}

func TestMorePodsThanRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		var pods []enforce.Pod
		for i := range 5 {
			pods = append(pods, pod(fmt.Sprint("p", i), fmt.Sprint("u", i), "db"))
		}
		n.listed(pods, denyAll)
		var failed []error
		for i := range 5 {
			if err := n.add(attachment(fmt.Sprint("p", i), fmt.Sprint("u", i), fmt.Sprint("10.0.1.", i), 20+i)); err != nil {
				failed = append(failed, err)
			}
		}
		if len(failed) != 1 || !errors.Is(failed[0], enforce.ErrNoSlot) {
			t.Errorf("%v", failed)
		}
		n.Release("p0/u0")
		if err := n.add(attachment("p4", "u4", "10.0.1.4", 24)); err != nil {
			t.Error(err)
		}
		if got := slices.Sorted(maps.Keys(n.kernel.attached)); !slices.Equal(got, []int{21, 22, 23, 24}) {
			t.Errorf("attached %v", got)
		}
	})
}

func TestPodsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, map[int]uint32{5: 1})
		g := &enforce.Guard{Enforcer: n.Enforcer, VethPrefix: "eni", Addrs: func() ([]netip.Addr, error) { return nil, nil }, Index: func(link string) (int, error) {
			if link != "eni-of-web" {
				return 0, errors.New("no such link")
			}
			return 8, nil
		}}
		db := hostnet.Pod{Key: hostnet.PodKey{ContainerID: "c1", IfName: "eth0"}, Namespace: "shop", Name: "db-1", UID: "u1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}}
		theirs := hostnet.Pod{Namespace: "shop", Name: "db-2", UID: "u2", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.6")}}
		web := hostnet.Pod{Key: hostnet.PodKey{ContainerID: "c3", IfName: "eth0"}, Namespace: "shop", Name: "web", UID: "u3", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
		links := []hostnet.Link{{Index: 7, Name: "eniab", Alias: hostnet.Alias(db.Key)}, {Index: 6, Name: hostnet.VethName("eni", "shop", "db-2")}, {Index: 1, Name: "lo"}, {Index: 2, Name: "eth0"}}
		g.Sync([]hostnet.Pod{db, theirs, web}, links)
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("db-2", "u2", "db"), pod("web", "u3", "web")}, denyAll, allowWeb)
		n.expect(7, "10.0.0.9", "denied")
		n.expect(6, "10.0.0.9", "denied")
		n.expect(5, "10.0.0.9", "unjudged")
		if _, got, _ := n.kernel.Attached(); !slices.Equal(got, []int{2}) {
			t.Errorf("exits %v, want eth0 alone", got)
		}
		if err := g.Admit(t.Context(), web, hostnet.Wired{HostVeth: "eni-of-web"}); err != nil {
			t.Fatal(err)
		}
		n.expect(7, "10.0.0.9", "allowed")
		n.expect(8, "10.0.0.5", "denied")
		if err := g.Admit(t.Context(), web, hostnet.Wired{HostVeth: "other"}); err == nil {
			t.Error("a pod without a link is admitted")
		}
		g.Release(web)
		n.expect(8, "10.0.0.5", "unjudged")
		n.expect(7, "10.0.0.9", "denied")
		g.Sync([]hostnet.Pod{db}, links) // the DEL of the other was lost
		n.expect(6, "10.0.0.9", "unjudged")
		n.expect(7, "10.0.0.9", "denied")
	})
}
