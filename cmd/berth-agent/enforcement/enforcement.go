// Package enforcement puts network policy together for the agent: the API server's policies, the loop that compiles them, and the
// eBPF programs on pods' interfaces.
package enforcement

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/run"
)

// Options of Open.
type Options struct {
	On         bool
	Dir        string // for pins, in a mounted bpffs
	VethPrefix string
	Names      string // file of what domains stand for, for the next process
	Mode       string // strict denies what no policy decides, standard allows it
	Log        *slog.Logger
	// Masqueraded is "judge" when what others send by the node's address counts like any other address, not as the node's.
	Masqueraded string
	// EventLogs says which packets are written to EventLogFile: LogNothing, LogDenied or LogAll, which has the first packets of flows
	// that are allowed, too.
	EventLogs, EventLogFile string
}

// Enforcement is network policy on this node; nil where it is off.
type Enforcement struct {
	options  Options
	datapath *bpf.Datapath
	loop     *enforce.Enforcer
	kube     *kube.Client
	prefix   string
	names    *nameFile
}

// Open loads the programs. What a former agent has put on interfaces goes on until the pods are known again. When network policy is
// off it takes that away, and returns nil.
func Open(o Options, k *kube.Client) (*Enforcement, error) {
	if !o.On {
		return nil, remove(o)
	}
	if k == nil {
		return nil, errors.New("ENABLE_NETWORK_POLICY=true: policies come from the API server; set MY_NODE_NAME, as the manifest does")
	}
	if err := mounted(filepath.Dir(o.Dir)); err != nil {
		return nil, err
	}
	memory, err := memoryOfNode()
	if err != nil {
		return nil, err
	}
	known := &nameFile{path: o.Names}
	records, err := known.read()
	if err != nil {
		return nil, err
	}
	sizes := bpf.SizesFor(memory)
	if o.EventLogs != LogDenied && o.EventLogs != LogAll {
		sizes.Events = uint32(os.Getpagesize()) //nolint:gosec // a page, since nobody writes there
	}
	datapath, err := bpf.Open(bpf.Options{Dir: o.Dir, Sizes: sizes, Settings: bpf.Settings{
		Timeouts: bpf.DefaultTimeouts(), LogDenied: o.EventLogs == LogDenied || o.EventLogs == LogAll, LogAllowed: o.EventLogs == LogAll,
		JudgeNode: o.Masqueraded == "judge",
	}})
	if err != nil {
		return nil, fmt.Errorf("open the datapath of network policy: %w", err)
	}
	loop := enforce.New(enforce.Config{Strict: o.Mode == "strict", Slots: int(sizes.Interfaces), Names: records, Room: compile.Size{
		Rows: int(sizes.Rows), Peers: int(sizes.Peers), Prefixes: int(sizes.Blocks), Ranges: int(sizes.Ranges),
	}}, enforce.Ports{
		Datapath: datapath, Pods: pods{k}, Log: o.Log,
	})
	return &Enforcement{options: o, datapath: datapath, loop: loop, kube: k, prefix: o.VethPrefix, names: known}, nil
}

// Guard is the node's way to it; nil where it is off.
func (e *Enforcement) Guard() node.Guard {
	if e == nil {
		return nil
	}
	return &enforce.Guard{Enforcer: e.loop, Index: linkIndex, Addrs: ownAddrs, VethPrefix: e.prefix}
}

// Run enforces until ctx ends. Nothing is taken off interfaces then.
func (e *Enforcement) Run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	g, _ := run.NewGroup(ctx)
	g.Go("policies", e.loop.Run)
	g.Go("policy watches", func(ctx context.Context) error { return e.kube.FollowPolicies(ctx, view{e.loop}) })
	g.Go("policy conditions", e.tellCluster)
	g.Go("answers of DNS", e.hearAnswers)
	g.Go("domains that expire", e.expireNames)
	if e.options.EventLogs == LogDenied || e.options.EventLogs == LogAll {
		g.Go("policy log", e.logFlows)
	}
	return g.Wait(time.Second)
}

// Report says how far policies are in force, and what is not as it should be; nil where they are off.
func (e *Enforcement) Report(ctx context.Context) (*enforce.Report, []string) {
	if e == nil {
		return nil, nil
	}
	r, err := e.loop.Report(ctx)
	if err != nil {
		return nil, []string{"network policy: " + err.Error()}
	}
	return &r, r.Degraded()
}

// Close lets go of the programs and maps, which stay in force.
func (e *Enforcement) Close() error {
	if e == nil {
		return nil
	}
	return e.datapath.Close()
}

// remove takes off what an agent with network policy has left on this node. Nothing left is success.
func remove(o Options) error {
	if err := os.Remove(o.Names); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what domains stand for: %w", err)
	}
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	datapath, err := bpf.Open(bpf.Options{Dir: o.Dir})
	if err != nil {
		return fmt.Errorf("open the datapath of network policy to remove it: %w", err)
	}
	if err := datapath.Remove(); err != nil {
		return fmt.Errorf("take network policy off pods' interfaces: %w", err)
	}
	o.Log.Info("network policy is off: programs and maps are removed", "dir", o.Dir)
	return nil
}

// mounted tells whether a folder is in a bpffs: pins in any other would be lost with the process, and with them the policies.
func mounted(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s, where eBPF programs are pinned: %w", dir, err)
	}
	if st.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is no bpffs, and policies would end with the agent: run `mount -t bpf bpf /sys/fs/bpf` on the node, as systemd does, and mount that folder into the pod", dir)
	}
	return nil
}

func memoryOfNode() (uint64, error) {
	var in unix.Sysinfo_t
	if err := unix.Sysinfo(&in); err != nil {
		return 0, fmt.Errorf("read the node's memory: %w", err)
	}
	return in.Totalram * uint64(in.Unit), nil
}

// ownAddrs are the addresses of the node's links.
func ownAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs, nil
}

func linkIndex(name string) (int, error) {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return l.Index, nil
}
