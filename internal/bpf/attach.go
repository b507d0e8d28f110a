package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Attach puts both programs on an interface of the calling thread's network namespace, or replaces those of an earlier version in one
// step. Its packets are judged by what the slot says from the first one on. The addresses are its pod's, at most one of each family.
//
// What has no programs gets them by clsact, a hundred times faster than by TCX, for which the kernel waits for a grace period for each
// program, with everybody's netlink waiting too. Settle moves them to TCX, later. But the new qdisc stops the interface for some 50 µs:
// of a pod that is running packets are lost by it, so its interface gets TCX at once where the kernel has that.
func (d *Datapath) Attach(ifindex int, slot uint32, running bool, addrs ...netip.Addr) error {
	if slots := d.objects.Pods.MaxEntries(); slot >= slots {
		return fmt.Errorf("attach policy to interface %d: %w", ifindex, &FullError{Map: "pods", Size: slots})
	}
	err := d.objects.Interfaces.Put(uint32(ifindex), slot)
	if full(err) {
		err = &FullError{Map: "interfaces", Size: d.objects.Interfaces.MaxEntries()}
	}
	if err == nil {
		err = d.objects.Slots.Put(slot, slotOf(ifindex, addrs))
	}
	settled := false
	if err == nil && running {
		settled, err = d.settle(ifindex)
	}
	for _, direction := range []Direction{Ingress, Egress} {
		if err == nil && !settled {
			err = d.putFast(ifindex, direction)
		}
	}
	if err != nil {
		return fmt.Errorf("attach policy to interface %d: %w", ifindex, err)
	}
	return nil
}

// Settle moves the programs of an interface to TCX, where no other user of tc removes them by mistake. Both are asked meanwhile, which
// say the same. The empty qdisc stays: to remove it would lose packets. Without TCX, and for an interface that is not attached, it does nothing.
func (d *Datapath) Settle(ifindex int) error {
	if _, err := d.settle(ifindex); err != nil {
		return fmt.Errorf("settle policy of interface %d: %w", ifindex, err)
	}
	return nil
}

// settle attaches by TCX, and takes our filters of clsact off then. Where the kernel has no TCX, or the interface was detached meanwhile, it
// does nothing and says so.
func (d *Datapath) settle(ifindex int) (bool, error) {
	d.settling.Lock()
	defer d.settling.Unlock()
	var slot uint32
	if d.clsact {
		return false, nil
	}
	if err := d.objects.Interfaces.Lookup(uint32(ifindex), &slot); errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	for _, direction := range []Direction{Ingress, Egress} {
		err := d.putLink(ifindex, direction)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	_, err := removeFilters(ifindex)
	return err == nil, err
}

func slotOf(ifindex int, addrs []netip.Addr) policySlot {
	s := policySlot{Ifindex: uint32(ifindex)}
	for _, a := range addrs {
		if a.Unmap().Is4() {
			s.Addr[0] = addrOf(a)
		} else {
			s.Addr[1] = addrOf(a)
		}
	}
	return s
}

// AttachExit has what leaves by a link judged that pods sent to services. Every link by which the node forwards packets of pods needs
// it, but those of pods. Detach ends it.
func (d *Datapath) AttachExit(ifindex int) error {
	err := d.objects.Interfaces.Put(uint32(ifindex), exitSlot)
	if full(err) {
		err = &FullError{Map: "interfaces", Size: d.objects.Interfaces.MaxEntries()}
	}
	if err == nil {
		err = d.putOn(ifindex, leaving)
	}
	if err != nil {
		return fmt.Errorf("attach policy to link %d: %w", ifindex, err)
	}
	return nil
}

// Detach takes the programs off an interface, which may be gone, and forgets its slot.
func (d *Datapath) Detach(ifindex int) error {
	d.settling.Lock()
	defer d.settling.Unlock()
	var slot uint32
	found := d.objects.Interfaces.Lookup(uint32(ifindex), &slot) == nil
	empty, err := d.takeOff(ifindex)
	if empty {
		err = errors.Join(err, removeQdisc(ifindex))
	}
	if e := d.objects.Interfaces.Delete(uint32(ifindex)); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
		err = errors.Join(err, e)
	}
	if found && slot != exitSlot {
		err = errors.Join(err, d.writePod(tables.PodChange{Slot: slot, Delete: true}), d.objects.Slots.Put(slot, policySlot{}))
	}
	if err != nil {
		return fmt.Errorf("detach policy from interface %d: %w", ifindex, err)
	}
	return nil
}

func (d *Datapath) pin(ifindex int, direction Direction) string {
	return filepath.Join(d.linkDir(), fmt.Sprintf("%d-%s", ifindex, names[direction]))
}

var names = map[Direction]string{Ingress: "ingress", Egress: "egress", leaving: "leaving"}

// putOn attaches by TCX, or by clsact where the kernel has none.
func (d *Datapath) putOn(ifindex int, direction Direction) error {
	if !d.clsact {
		if err := d.putLink(ifindex, direction); !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
	}
	return putFilter(ifindex, direction, d.program(direction).FD())
}

// putFast replaces what is attached by TCX, and attaches by clsact where nothing is.
func (d *Datapath) putFast(ifindex int, direction Direction) error {
	if !d.clsact {
		if replaced, err := d.replace(d.pin(ifindex, direction), ifindex, direction); err != nil || replaced {
			return err
		}
	}
	return putFilter(ifindex, direction, d.program(direction).FD())
}

// putLink attaches by TCX, or replaces what is attached so. It fails with ErrNotSupported before Linux 6.6.
func (d *Datapath) putLink(ifindex int, direction Direction) error {
	pin := d.pin(ifindex, direction)
	if replaced, err := d.replace(pin, ifindex, direction); err != nil || replaced {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: ifindex, Program: d.program(direction), Attach: hook(direction), Anchor: link.Head(),
	})
	if err != nil {
		return fmt.Errorf("attach %s by tcx: %w", names[direction], err)
	}
	if err := l.Pin(pin); err != nil {
		return errors.Join(fmt.Errorf("pin %s: %w", pin, err), l.Close())
	}
	return l.Close() // the pin holds it
}

// hook is where packets of a direction pass the host's side: what goes to the pod leaves the host there.
func hook(direction Direction) ebpf.AttachType {
	if direction == Egress {
		return ebpf.AttachTCXIngress
	}
	return ebpf.AttachTCXEgress
}

// replace gives a pinned link the program of this process. A link whose interface is gone is dropped.
func (d *Datapath) replace(pin string, ifindex int, direction Direction) (bool, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open pinned link %s: %w", pin, err)
	}
	defer func() { _ = l.Close() }() // the pin holds it
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("read pinned link %s: %w", pin, err)
	}
	if tcx := info.TCX(); tcx == nil || int(tcx.Ifindex) != ifindex {
		return false, l.Unpin()
	}
	if err := l.Update(d.program(direction)); err != nil {
		return false, fmt.Errorf("replace program of %s: %w", pin, err)
	}
	return true, nil
}

// takeOff removes what putOn puts, by either way, and tells whether an interface of a pod has the qdisc from before it was settled.
func (d *Datapath) takeOff(ifindex int) (qdisc bool, err error) {
	var errs []error
	settled := false
	for direction := range names {
		pin := d.pin(ifindex, direction)
		l, err := link.LoadPinnedLink(pin, nil)
		if err == nil {
			errs, settled = append(errs, l.Unpin(), l.Close()), settled || direction != leaving
		} else if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("open pinned link %s: %w", pin, err))
		}
	}
	removed, err := removeFilters(ifindex)
	return removed || settled, errors.Join(append(errs, err)...)
}
