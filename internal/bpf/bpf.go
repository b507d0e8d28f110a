// Package bpf is the datapath of network policy: two eBPF programs that judge every packet of every pod of the node, and the maps
// that they read. What the maps say is decided elsewhere and comes as changes of core/policy/tables; this package writes it down.
//
//	            host side of a pod's veth pair
//	pod  ─────►  tc ingress: program egress    ─────►  node, VPC
//	pod  ◄─────  tc egress:  program ingress   ◄─────  node, VPC
//
//	every other link of the node, at tc egress: program leaving, for what pods sent to services
//
//	services     addresses that are translated; slots: slot -> ifindex
//	interfaces   ifindex -> slot                               flows    what passed, seen from the pod
//	pods         slot -> its two sets, one word                frags    datagrams whose first fragment passed
//	peers        address -> class     blocks  prefix -> block  counts   by interface and rule
//	rows         set and class or block -> ranges              reasons  what was remarkable
//	ranges       the tiers' words by protocol and port         events   the flow log, a ring buffer
//	                                                           answers  of DNS to pods, another
//
// It guarantees: no packet is judged by half a change; programs are replaced in one step; what was opened stays in force when the
// process ends, until Remove; a map that is full denies and is told, never truncated. It must never decide what a policy means.
//
// bpf/*.h and bpf/policy.c are the programs; the objects are made by bpf2go and committed.
package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -cflags "-O2 -Wall -Wextra -Werror -mcpu=v3" -type config -type row_key -type row -type word -type range -type prefix4 -type prefix6 -type flow_key -type flow -type slot -type count_key -type count -type reason policy ../../bpf/policy.c

// Schema counts changes of the maps' structure. Maps of another schema are left to the programs that use them, until those are
// replaced.
const Schema = 2

// Options are of Open.
type Options struct {
	// Dir is a folder of a mounted bpffs; it is made. What is pinned there outlives the process.
	Dir string
	// Sizes are used for maps that do not exist yet: a map keeps its size until Remove or a reboot.
	Sizes Sizes
	// Clsact attaches by a tc qdisc also where the kernel has TCX, which came with 6.6.
	Clsact bool
	// Settings are written at once.
	Settings Settings
}

// Datapath is the programs, loaded, and their maps. Its methods but Apply may be called side by side.
type Datapath struct {
	dir     string
	clsact  bool
	objects policyObjects
	barrier *barrier
	// settling keeps Settle and Detach apart.
	settling sync.Mutex
	// Memory of maps that the programs read in place: a word is stored at once.
	settings, pods, ranges *ebpf.Memory
}

// Open loads the programs with maps of their own, which are empty. Interfaces that have programs keep those, and the maps that
// those read, until Attach replaces them: fill the maps first.
func Open(o Options) (*Datapath, error) {
	d := &Datapath{dir: o.Dir, clsact: o.Clsact}
	for _, dir := range []string{d.linkDir(), d.sharedDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make folder for pins of eBPF %s: %w", o.Dir, err)
		}
	}
	before, err := d.former()
	if err != nil {
		return nil, err
	}
	if err := d.load(o.Sizes); err != nil {
		return nil, err
	}
	if err := d.open(o.Settings); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.succeed(before); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// load makes the maps, or takes those of flows that are there, and verifies the programs.
func (d *Datapath) load(sizes Sizes) error {
	spec, err := loadPolicy()
	if err != nil {
		return fmt.Errorf("read eBPF object: %w", err)
	}
	for name, size := range sizes.byMap() {
		if size > 0 {
			spec.Maps[name].MaxEntries = size
		}
	}
	for _, name := range shared {
		spec.Maps[name].Pinning = ebpf.PinByName
		if err := d.adoptSize(name, spec.Maps[name]); err != nil {
			return err
		}
	}
	err = spec.LoadAndAssign(&d.objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.sharedDir()}})
	if err != nil {
		return fmt.Errorf("load eBPF programs and maps of %s: %w", d.dir, err)
	}
	return nil
}

// adoptSize takes over the size of a pinned map.
func (d *Datapath) adoptSize(name string, spec *ebpf.MapSpec) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(d.sharedDir(), name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pinned eBPF map %s of %s: %w", name, d.sharedDir(), err)
	}
	spec.MaxEntries = m.MaxEntries()
	return m.Close()
}

func (d *Datapath) open(s Settings) (err error) {
	for _, m := range []struct {
		of   *ebpf.Map
		into **ebpf.Memory
	}{{d.objects.Settings, &d.settings}, {d.objects.Pods, &d.pods}, {d.objects.Ranges, &d.ranges}} {
		if *m.into, err = m.of.Memory(); err != nil {
			return fmt.Errorf("map memory of eBPF map %s: %w", m.of, err)
		}
	}
	if d.barrier, err = newBarrier(); err != nil {
		return err
	}
	return d.Set(s)
}

// Close gives back what the process holds. Everything stays in force.
func (d *Datapath) Close() error {
	err := d.objects.Close()
	if d.barrier != nil {
		err = errors.Join(err, d.barrier.close())
	}
	return err
}

// Remove takes the programs off every interface, then the maps; no packet is dropped on the way. The datapath is closed. Where packets
// come to a pod all the time its interface keeps an empty qdisc clsact, as long as there is the pod: to remove it would lose some.
func (d *Datapath) Remove() error {
	all, err := d.attached()
	if err != nil {
		return err
	}
	var qdiscs []int
	for ifindex := range all {
		has, e := d.takeOff(ifindex)
		if err = errors.Join(err, e); has {
			qdiscs = append(qdiscs, ifindex)
		}
	}
	// Programs that still run find their maps until they are done: the maps are theirs, too.
	return errors.Join(err, d.Close(), os.RemoveAll(d.dir), removeQuiet(qdiscs))
}

// Attached are the interfaces of pods that are attached, with their slots, and the other links.
func (d *Datapath) Attached() (pods map[int]uint32, exits []int, err error) {
	pods, err = d.attached()
	for ifindex, slot := range pods {
		if slot == exitSlot {
			exits = append(exits, ifindex)
			delete(pods, ifindex)
		}
	}
	slices.Sort(exits)
	return pods, exits, err
}

// Interfaces are pods' that are attached, with their slots.
func (d *Datapath) Interfaces() (map[int]uint32, error) {
	pods, _, err := d.Attached()
	return pods, err
}

func (d *Datapath) attached() (map[int]uint32, error) {
	found := make(map[int]uint32)
	var ifindex, slot uint32
	entries := d.objects.Interfaces.Iterate()
	for entries.Next(&ifindex, &slot) {
		found[int(ifindex)] = slot
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list interfaces with policy: %w", err)
	}
	return found, nil
}

// exitSlot stands in the map of interfaces for those that no pod is behind.
const exitSlot = ^uint32(0)

// Direction is a program: that of packets to the pod, or that of packets from it. Its values are policy.Direction's.
type Direction uint8

// The directions, seen from the pod.
const (
	Ingress Direction = iota
	Egress
	leaving // the third program, of links that are no pod's
)

// program is what judges a direction.
func (d *Datapath) program(direction Direction) *ebpf.Program {
	switch direction {
	case Ingress:
		return d.objects.Ingress
	case Egress:
		return d.objects.Egress
	default:
		return d.objects.Leaving
	}
}

// Pod says how packets of a slot are judged.
func (d *Datapath) Pod(slot uint32) (tables.Pod, error) {
	var pod uint64
	if err := d.objects.Pods.Lookup(slot, &pod); err != nil {
		return tables.Pod{}, fmt.Errorf("read policy of slot %d: %w", slot, err)
	}
	return tables.Pod{Ingress: tables.Set(uint32(pod)), Egress: tables.Set(pod >> 32)}, nil
}
