package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// barrier waits until programs have ended that began before. Userspace has no call of that name; but the kernel lets an update of a
// map of maps return only after a grace period of RCU, so that no program uses the map that was replaced (since 4.20, commit
// 1ae80cf31938). The programs of tc run within such a period.
type barrier struct {
	outer, inner *ebpf.Map
}

func newBarrier() (*barrier, error) {
	spec := ebpf.MapSpec{Name: "berth_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	inner, err := ebpf.NewMap(&spec)
	if err != nil {
		return nil, fmt.Errorf("make inner eBPF map of the barrier: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "berth_barrier", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: &spec,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make eBPF map of the barrier: %w", err), inner.Close())
	}
	return &barrier{outer: outer, inner: inner}, nil
}

func (b *barrier) wait() error {
	if err := b.outer.Put(uint32(0), b.inner); err != nil {
		return fmt.Errorf("wait for programs that run: %w", err)
	}
	return nil
}

func (b *barrier) close() error { return errors.Join(b.outer.Close(), b.inner.Close()) }
