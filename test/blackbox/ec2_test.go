package blackbox

import (
	"slices"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

const ec2Usage = `ec2 create [secondary=COUNT] [description=TEXT] [tag=value …] | attach ENI DEVICE | detach DEVICE | delete ENI | assign DEVICE COUNT|ADDRESS… | unassign POD|ADDRESS…`

// cmdEC2 is what somebody does by hand to interfaces; ec2Usage has its verbs. create and detach set $eni.
func cmdEC2(w *world, _ bool, args []string) {
	if len(args) < 2 && (len(args) == 0 || args[0] != "create") {
		w.fail("%s", ec2Usage)
	}
	defer w.rig.Settle()
	switch verb, args := args[0], args[1:]; verb {
	case "create":
		w.createInterface(args)
	case "attach":
		w.rig.Attach(args[0], w.number(args[1]))
	case "detach":
		e := w.device(args[0])
		w.rig.Detach(e)
		w.ts.Setenv("eni", e.NetworkInterfaceId)
	case "delete":
		w.rig.Delete(args[0])
	case "assign":
		id := w.device(args[0]).NetworkInterfaceId
		if count, err := strconv.Atoi(args[1]); err == nil {
			w.rig.Assign(id, count)
		} else {
			w.rig.Assign(id, 0, args[1:]...)
		}
	case "unassign":
		for _, name := range w.names(args) {
			addr, _ := w.place(name)
			w.rig.Unassign(w.holder(addr.String()), addr.String())
		}
	default:
		w.fail("%s", ec2Usage)
	}
}

func (w *world) createInterface(args []string) {
	secondary, description, tags := 0, "not of the agent", map[string]string{}
	pairs, rest := options(args)
	if len(rest) > 0 {
		w.fail("%s", ec2Usage)
	}
	for _, p := range pairs {
		switch p[0] {
		case "secondary":
			secondary = w.number(p[1])
		case "description":
			description = p[1]
		default:
			tags[p[0]] = p[1]
		}
	}
	w.ts.Setenv("eni", w.rig.CreateInterface(secondary, description, tags))
}

func (w *world) number(text string) int {
	n, err := strconv.Atoi(text)
	w.check("read number", err)
	return n
}

// device is the node's interface at a device index.
func (w *world) device(index string) ec2.NetworkInterface {
	for _, e := range w.nodeInterfaces() {
		if strconv.Itoa(e.Attachment.DeviceIndex) == index {
			return e
		}
	}
	w.fail("the node has no interface at device index %s", index)
	return ec2.NetworkInterface{}
}

// holder is the interface that has an address.
func (w *world) holder(addr string) string {
	for _, e := range w.nodeInterfaces() {
		if slices.ContainsFunc(e.PrivateIpAddresses, func(a ec2.NetworkInterfacePrivateIpAddress) bool { return a.PrivateIpAddress == addr }) {
			return e.NetworkInterfaceId
		}
	}
	w.fail("no interface of the node has %s", addr)
	return ""
}
