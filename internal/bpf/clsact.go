package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The way of kernels before 6.6: a qdisc of kind clsact with one filter of kind bpf for each direction. Numbers are of
// include/uapi/linux/pkt_sched.h and pkt_cls.h.
const (
	clsact         = 0xfffffff1
	clsactHandle   = 0xffff0000
	clsactIngress  = 0xfffffff2 // what comes from the link
	clsactEgress   = 0xfffffff3
	filterPriority = 1
	filterHandle   = 0xbe27 // ours among those of our priority

	attrKind, attrOptions                = 1, 2
	attrBPFFD, attrBPFName, attrBPFFlags = 6, 7, 8
	actDirect                            = 1
)

func parent(direction Direction) uint32 {
	if direction == Egress {
		return clsactIngress
	}
	return clsactEgress
}

// tcMessage is a struct tcmsg with attributes.
func tcMessage(ifindex int, handle, parent, info uint32, attrs ...[]byte) []byte {
	b := make([]byte, 4, 64) // family and padding
	b = binary.NativeEndian.AppendUint32(b, uint32(ifindex))
	b = binary.NativeEndian.AppendUint32(b, handle)
	b = binary.NativeEndian.AppendUint32(b, parent)
	b = binary.NativeEndian.AppendUint32(b, info)
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

// attr is a netlink attribute, padded.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(value)%4)%4)...)
}

func attrString(kind uint16, s string) []byte { return attr(kind, append([]byte(s), 0)) }
func attrUint32(kind uint16, v uint32) []byte {
	return attr(kind, binary.NativeEndian.AppendUint32(nil, v))
}

// filterInfo is a filter's priority, and all protocols in network order.
func filterInfo() uint32 {
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	return filterPriority<<16 | uint32(all)
}

// putFilter makes the qdisc where it is missing, and makes the filter or replaces its program in one step.
func putFilter(ifindex int, direction Direction, program int) error {
	s, err := dialRoute()
	if err != nil {
		return err
	}
	defer s.close()
	err = s.ask(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, tcMessage(ifindex, clsactHandle, clsact, 0, attrString(attrKind, "clsact")))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make qdisc clsact: %w", err)
	}
	options := attrUint32(attrBPFFD, uint32(program))
	options = append(options, attrString(attrBPFName, "berth-"+names[direction])...)
	options = append(options, attrUint32(attrBPFFlags, actDirect)...)
	err = s.ask(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		tcMessage(ifindex, filterHandle, parent(direction), filterInfo(), attrString(attrKind, "bpf"), attr(attrOptions, options)))
	if err != nil {
		return fmt.Errorf("put %s as filter of clsact: %w", names[direction], err)
	}
	return nil
}

// removeFilters removes our filters, and tells whether there were any. An interface without any, or that is gone, is as it should be.
func removeFilters(ifindex int) (removed bool, err error) {
	s, err := dialRoute()
	if err != nil {
		return false, err
	}
	defer s.close()
	for _, direction := range []Direction{Ingress, Egress} {
		err := s.ask(unix.RTM_DELTFILTER, 0, tcMessage(ifindex, filterHandle, parent(direction), filterInfo(), attrString(attrKind, "bpf")))
		if err == nil {
			removed = true
		} else if !isAbsent(err) {
			return removed, fmt.Errorf("remove filter of %s: %w", names[direction], err)
		}
	}
	return removed, nil
}

// removeQdisc removes the qdisc, unless somebody has a filter in it. The kernel stops the interface meanwhile (dev_deactivate in
// qdisc_graft of net/sched/sch_api.c, as of Linux 6.18) and drops what is sent to it: this is for the end of an interface's policy.
func removeQdisc(ifindex int) error {
	s, err := dialRoute()
	if err != nil {
		return err
	}
	defer s.close()
	for _, direction := range []Direction{Ingress, Egress} {
		others, err := s.has(unix.RTM_GETTFILTER, tcMessage(ifindex, 0, parent(direction), 0))
		if err != nil || others {
			return err
		}
	}
	err = s.ask(unix.RTM_DELQDISC, 0, tcMessage(ifindex, clsactHandle, clsact, 0, attrString(attrKind, "clsact")))
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("remove qdisc clsact: %w", err)
	}
	return nil
}

// isAbsent: no link, no qdisc (EINVAL), no filter.
func isAbsent(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}
