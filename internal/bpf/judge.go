package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Frame is a packet for Judge.
type Frame struct {
	Direction Direction
	Data      []byte // from the Ethernet header on
	// FromHost is a packet to the pod that the node itself sends; else it came by another interface, or from the pod.
	FromHost bool
	// Hairpin is a packet to the pod that came from the pod.
	Hairpin bool
}

// frameContext is the beginning of a struct __sk_buff.
type frameContext struct {
	_              [9]uint32
	IngressIfindex uint32
	Ifindex        uint32
}

// loopback is an interface that every namespace has, and no pod's.
const loopback = 1

// elsewhere is the index of an interface that nobody looks up.
const elsewhere = 1 << 20

func (f Frame) context() *frameContext {
	c := &frameContext{Ifindex: loopback, IngressIfindex: elsewhere}
	switch {
	case f.FromHost:
		c.IngressIfindex = 0
	case f.Hairpin:
		c.IngressIfindex = loopback
	}
	return c
}

// Verdicts of a tc program.
const (
	actUnspec = 1<<32 - 1
	actShot   = 2
)

// Judge asks the program about a frame of a slot, without sending it: it counts, and makes and touches flows, as for a real one.
func (d *Datapath) Judge(slot uint32, f Frame) (allowed bool, err error) {
	if err := d.objects.Interfaces.Put(uint32(loopback), slot); err != nil {
		return false, fmt.Errorf("judge frame: %w", err)
	}
	verdict, err := d.program(f.Direction).Run(&ebpf.RunOptions{Data: f.Data, Context: f.context()})
	if err != nil {
		return false, fmt.Errorf("judge frame: %w", err)
	}
	switch verdict {
	case actUnspec:
		return true, nil
	case actShot:
		return false, nil
	}
	return false, fmt.Errorf("judge frame: the program says %d", verdict)
}
