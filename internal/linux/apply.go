package linux

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// apply carries out ops in their order, requests to the kernel's routing in batches. It goes on after an error: the rest may
// be what keeps pods connected. done are the operations that succeeded.
func (h *Host) apply(ctx context.Context, ops []hostnet.Op, index map[string]int) (done []hostnet.Op, err error) {
	a := applier{h: h, index: index}
	for _, op := range ops {
		var err error
		switch op := op.(type) {
		case hostnet.SetSysctl:
			a.flush()
			err = h.in(func() error { return h.writeSysctl(op.Sysctl) })
		case hostnet.ReplaceTable:
			a.flush()
			err = h.replaceTable(ctx, op.Table)
		case hostnet.DeleteTable:
			a.flush()
			err = h.deleteTable(ctx)
		default:
			a.queue(op)
			continue
		}
		a.result(op, err)
	}
	a.flush()
	return a.done, errors.Join(a.errs...)
}

type applier struct {
	h     *Host
	index map[string]int
	ops   []hostnet.Op
	reqs  []*nl.NetlinkRequest
	done  []hostnet.Op
	errs  []error
}

func (a *applier) result(op hostnet.Op, err error) {
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("%s: %w", op, err))
		return
	}
	a.done = append(a.done, op)
}

func (a *applier) queue(op hostnet.Op) {
	req, err := a.request(op)
	if err != nil {
		a.result(op, err)
		return
	}
	a.ops, a.reqs = append(a.ops, op), append(a.reqs, req)
	if len(a.reqs) == 64 {
		a.flush()
	}
}

func (a *applier) flush() {
	for i, err := range a.h.route.batch(a.reqs...) {
		switch a.ops[i].(type) {
		case hostnet.DeleteAddr, hostnet.DeleteRoute, hostnet.DeleteRule:
			err = unlessGone(err)
		default:
			err = except(err, unix.EEXIST)
		}
		a.result(a.ops[i], err)
	}
	a.ops, a.reqs = nil, nil
}

func (a *applier) request(op hostnet.Op) (*nl.NetlinkRequest, error) {
	name := ""
	switch op := op.(type) {
	case hostnet.AddRule:
		return ruleRequest(unix.RTM_NEWRULE, create, op.Rule), nil
	case hostnet.DeleteRule:
		return ruleRequest(unix.RTM_DELRULE, 0, op.Rule), nil
	case hostnet.SetMTU:
		name = op.Link
	case hostnet.SetUp:
		name = op.Link
	case hostnet.AddAddr:
		name = op.Link
	case hostnet.DeleteAddr:
		name = op.Link
	case hostnet.ReplaceRoute:
		name = op.Link
	case hostnet.DeleteRoute:
		name = op.Link
	}
	i, ok := a.index[name]
	if !ok {
		return nil, fmt.Errorf("find link %q: %w", name, unix.ENODEV)
	}
	switch op := op.(type) {
	case hostnet.SetMTU:
		return setMTU(i, op.MTU), nil
	case hostnet.SetUp:
		return setUp(i), nil
	case hostnet.AddAddr:
		return addressRequest(unix.RTM_NEWADDR, create, i, op.Prefix), nil
	case hostnet.DeleteAddr:
		return addressRequest(unix.RTM_DELADDR, 0, i, op.Prefix), nil
	case hostnet.ReplaceRoute:
		return routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, op.Route, i), nil
	case hostnet.DeleteRoute:
		return routeRequest(unix.RTM_DELROUTE, 0, op.Route, i), nil
	default:
		return nil, fmt.Errorf("carry out %T: not known here", op)
	}
}
