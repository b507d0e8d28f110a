package blackbox

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/testkit/rig"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// site is a node beside the first one.
type site struct {
	rig          *rig.Rig
	agent, first *rig.Agent
}

// second NAME [SUBNET] [type=…] makes another node in the VPC. on NAME COMMAND … runs a command there.
func cmdSecond(w *world, _ bool, args []string) {
	kind := ""
	pairs, rest := options(args)
	for _, p := range pairs {
		if p[0] != "type" {
			w.fail("second NAME [SUBNET] [type=…]")
		}
		kind = p[1]
	}
	subnet := w.rig.Subnet
	if len(rest) > 1 {
		subnet = w.resource(rest[1])
	}
	name := rest[0]
	w.sites[name] = &site{rig: w.rig.Beside(name, kind, subnet)}
	w.tb.Cleanup(func() {
		if s := w.sites[name]; w.tb.Failed() && s.agent != nil {
			w.tb.Logf("the log of %s's agent ends with:\n%s", name, s.agent.Tail())
		}
	})
	if w.api != nil {
		_, space := w.place(name)
		w.api.Listen(w.tb, space)
	}
}

// at does something with another node in the first one's place.
func (w *world) at(name string, do func()) {
	s := w.sites[name]
	if s == nil {
		w.fail("there is no node %s", name)
	}
	home := site{w.rig, w.agent, w.first}
	w.rig, w.agent, w.first = s.rig, s.agent, s.first
	defer func() {
		s.agent, s.first = w.agent, w.first
		w.rig, w.agent, w.first = home.rig, home.agent, home.first
	}()
	do()
}

// on NAME COMMAND …
func cmdOn(w *world, neg bool, args []string) {
	if len(args) < 2 {
		w.fail("on NAME COMMAND …")
	}
	own := words()[args[1]]
	if own == nil {
		w.fail("on %s: unknown command %s", args[0], args[1])
	}
	w.at(args[0], func() { own(w, neg, args[2:]) })
}

// here are the pods of the node whose turn it is.
func (w *world) here() map[string]*rig.Pod {
	pods := w.livePods()
	for name, p := range pods {
		if !strings.HasPrefix(p.Container, filepath.Base(w.rig.Dir)+"-") {
			delete(pods, name)
		}
	}
	return pods
}

// whichNode is the name of the node with a primary address.
func (w *world) whichNode(a netip.Addr) string {
	for name, s := range w.sites {
		if s.rig.Primary(s.rig.Instance).PrivateIpAddress == a.String() {
			return name
		}
	}
	return ""
}

// group NAME [open=PORT …] [tag=value …] creates a security group: open to all that asks, or to these ports and pings.
func cmdGroup(w *world, _ bool, args []string) {
	pairs, rest := options(args)
	if len(rest) != 1 {
		w.fail("group NAME [open=PORT …] [tag=value …]")
	}
	tags, ports := map[string]string{}, []int(nil)
	for _, p := range pairs {
		if p[0] == "open" {
			ports = append(ports, w.number(p[1]))
		} else {
			tags[p[0]] = p[1]
		}
	}
	w.groups[rest[0]] = w.rig.NewGroup(rest[0], tags, ports...)
}

// groupsOf are the names of an interface's security groups.
func (w *world) groupsOf(e ec2.NetworkInterface) string {
	var names []string
	for _, g := range e.Groups {
		names = append(names, g.GroupName)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// scatter SUBNET [CIDR] takes one address in each block of sixteen of it, or of a part; it sets $eni, and ec2 delete gives all back.
func cmdScatter(w *world, _ bool, args []string) {
	part := w.cidrs[args[0]]
	if len(args) > 1 {
		part = netip.MustParsePrefix(args[1])
	}
	id := w.rig.Scatter(w.resource(args[0]), part)
	w.strangers[id] = true
	w.ts.Setenv("eni", id)
}

// foreign NAME CIDR makes a subnet of another VPC in the node's zone.
func cmdForeign(w *world, _ bool, args []string) {
	w.subnets[args[0]] = w.rig.ForeignSubnet(args[1], "us-west-2a")
}

// blockFacts are figures of an interface's blocks and groups in EC2.
func (w *world) blockFacts(f map[string]string, interfaces []ec2.NetworkInterface) {
	prefixes, total := 0, 0
	for _, e := range interfaces {
		index := strconv.Itoa(e.Attachment.DeviceIndex)
		f["ec2-prefixes-"+index], f["ec2-groups-"+index] = strconv.Itoa(len(e.Ipv4Prefixes)), w.groupsOf(e)
		prefixes += len(e.Ipv4Prefixes)
		total += len(e.PrivateIpAddresses) - 1 + 16*len(e.Ipv4Prefixes)
	}
	f["ec2-prefixes"], f["ec2-total"] = strconv.Itoa(prefixes), strconv.Itoa(total)
}
