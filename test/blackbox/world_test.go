package blackbox

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/awscni"
	"github.com/berth-net/berth/internal/testkit/flow"
	"github.com/berth-net/berth/internal/testkit/kubeapi"
	"github.com/berth-net/berth/internal/testkit/rig"
)

// patience is how long a thing that must happen may take on a busy machine; impatience how long one waits for a thing
// that must not.
const (
	patience   = 30 * time.Second
	impatience = 1500 * time.Millisecond
)

// world is one script's simulated VPC with its node.
type world struct {
	tb  testing.TB
	ts  *testscript.TestScript // of the command that runs
	rig *rig.Rig

	agent   *rig.Agent
	first   *rig.Agent       // that still runs beside it
	sites   map[string]*site // nodes beside the first, by name
	api     *kubeapi.Server
	subnets map[string]string // by the script's name
	cidrs   map[string]netip.Prefix
	groups  map[string]string     // security groups by the script's name
	public  map[netip.Addr]string // addresses that the internet sees, and who has them
	outside map[string]outsider
	flooded int // pods of flood

	existingSocket net.Listener    // while that CNI runs
	strangers      map[string]bool // interfaces that are attached to nothing on purpose

	mu        sync.Mutex
	pods      map[string]*rig.Pod // that have an address, by name
	gone      map[string]*rig.Pod // that a reboot ended, until their DEL
	spaces    map[string]string   // the network namespaces of pods, by name
	waiting   map[string]chan rig.Call
	chained   map[string]*libcni.RuntimeConf // of pods that chain add added
	listeners map[string]net.Listener        // by namespace and port
	existing  *awscni.Node                   // the node as the Amazon VPC CNI's
	flows     []*flow.Flow                   // that run
	own       []window                       // while they do, of the other CNI
	took      time.Duration
	serial    int
}

// outsider is an instance that is no node.
type outsider struct {
	instance vpc.InstanceID
	addr     netip.Addr
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	return &world{
		tb: tb, sites: map[string]*site{}, groups: map[string]string{}, strangers: map[string]bool{}, subnets: map[string]string{}, cidrs: map[string]netip.Prefix{}, public: map[netip.Addr]string{}, outside: map[string]outsider{},
		pods: map[string]*rig.Pod{}, gone: map[string]*rig.Pod{}, spaces: map[string]string{}, waiting: map[string]chan rig.Call{}, chained: map[string]*libcni.RuntimeConf{}, listeners: map[string]net.Listener{},
	}
}

// fail ends the script.
func (w *world) fail(format string, args ...any) {
	w.ts.Fatalf(format, args...)
}

func (w *world) check(what string, err error) {
	if err != nil {
		w.fail("%s: %v", what, err)
	}
}

func (w *world) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(w.ts.Stdout(), format, args...)
}

// outcome compares what happened with what the script expects.
func (w *world) outcome(neg bool, err error) {
	switch {
	case err != nil && !neg:
		w.fail("%v", err)
	case err == nil && neg:
		w.fail("it worked, and must not")
	}
}

// options splits arguments into key=value pairs and the rest.
func options(args []string) (pairs [][2]string, rest []string) {
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			pairs = append(pairs, [2]string{k, v})
		} else {
			rest = append(rest, a)
		}
	}
	return pairs, rest
}

// names expands "pod-1..pod-9" to nine names.
func (w *world) names(args []string) []string {
	var all []string
	for _, a := range args {
		first, last, ok := strings.Cut(a, "..")
		if !ok {
			all = append(all, a)
			continue
		}
		prefix := strings.TrimRight(first, "0123456789")
		from, err1 := strconv.Atoi(first[len(prefix):])
		to, err2 := strconv.Atoi(strings.TrimPrefix(last, prefix))
		if err1 != nil || err2 != nil || to < from {
			w.fail("%q is no range, want for example pod-1..pod-9", a)
		}
		for i := from; i <= to; i++ {
			all = append(all, prefix+strconv.Itoa(i))
		}
	}
	return all
}

// space is the network namespace of a pod, made at its first use.
func (w *world) space(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spaces[name] == "" {
		w.spaces[name] = testkit.Netns(w.tb)
	}
	return w.spaces[name]
}

// pod is a pod that has an address.
func (w *world) pod(name string) *rig.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pods[name]
	if p == nil {
		w.fail("there is no pod %s with an address", name)
	}
	return p
}

// livePods is a copy of the pods that have an address.
func (w *world) livePods() map[string]*rig.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.pods)
}

// gained remembers the pod's address, and fails when another live pod has it: the one thing that must never be.
func (w *world) gained(name string, p *rig.Pod) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other, q := range w.pods {
		if q.Addr == p.Addr && other != name {
			return fmt.Errorf("the address %s of the live pod %s was given to pod %s, too", p.Addr, other, name)
		}
	}
	w.pods[name] = p
	return nil
}

func (w *world) lost(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, name)
}

func (w *world) nodeSpace() string { return w.rig.Fabric.Namespace(w.rig.Instance) }

func (w *world) nodeAddr() netip.Addr {
	return netip.MustParseAddr(w.rig.Primary(w.rig.Instance).PrivateIpAddress)
}

// place finds the address and the network namespace of a name: a pod, node, or an instance outside.
func (w *world) place(name string) (netip.Addr, string) {
	if name == "node" {
		return w.nodeAddr(), w.nodeSpace()
	}
	if s := w.sites[name]; s != nil {
		return netip.MustParseAddr(s.rig.Primary(s.rig.Instance).PrivateIpAddress), s.rig.Fabric.Namespace(s.rig.Instance)
	}
	if o, ok := w.outside[name]; ok {
		return o.addr, w.rig.Fabric.Namespace(o.instance)
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return a, ""
	}
	p := w.pod(name)
	return p.Addr, p.NetNS
}

// who names an address.
func (w *world) who(a netip.Addr) string {
	if name := w.public[a]; name != "" {
		return name
	}
	if a == w.nodeAddr() {
		return w.rig.Node
	}
	if name := w.whichNode(a); name != "" {
		return name
	}
	for name, o := range w.outside {
		if o.addr == a {
			return name
		}
	}
	for name, p := range w.livePods() {
		if p.Addr == a {
			return name
		}
	}
	return a.String()
}

// eventually waits until condition holds; what it returns says what is missing.
func eventually(limit time.Duration, condition func() string) string {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		missing := condition()
		if missing == "" || time.Now().After(end) {
			return missing
		}
	}
}
