package blackbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/testkit/rig"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// vpc [type=m5.large] [cidr=10.0.0.0/16] [subnet=10.0.0.0/24] [setting=duration …] makes the world.
func cmdVPC(w *world, _ bool, args []string) {
	o := rig.Options{CIDR: "10.0.0.0/16", Subnet: "10.0.0.0/24"}
	pairs, rest := options(args)
	var settings [][2]string
	for _, p := range pairs {
		switch p[0] {
		case "type":
			o.Type = p[1]
		case "cidr":
			o.CIDR = p[1]
		case "subnet":
			o.Subnet = p[1]
		case "owner":
			o.Owner = p[1]
		default:
			settings = append(settings, p)
		}
	}
	if len(rest) > 0 || w.rig != nil {
		w.fail("vpc: once, with key=value")
	}
	o.Settings = w.settings(vpcsim.Settings{}, settings)
	w.rig = rig.New(w.tb, o)
	w.subnets["primary"], w.cidrs["primary"] = w.rig.Subnet, netip.MustParsePrefix(o.Subnet)
	w.ts.Setenv("RIG", w.rig.Dir)
	w.ts.Setenv("primary", w.rig.Subnet)
	w.tb.Cleanup(func() { // before the rig's directory goes
		if w.tb.Failed() && w.agent != nil {
			w.tb.Logf("the agent's log ends with:\n%s", w.agent.Tail())
			w.keepLogs()
		}
	})
}

// keepLogs copies all agents' logs to where go test -artifacts keeps them.
func (w *world) keepLogs() {
	logs, _ := filepath.Glob(filepath.Join(w.rig.Dir, "*.log"))
	for _, path := range logs {
		if data, err := os.ReadFile(path); err == nil {
			_ = os.WriteFile(filepath.Join(w.tb.ArtifactDir(), filepath.Base(path)), data, 0o600)
		}
	}
}

// settings changes delays of the simulated EC2: latency, attach, detach, block, describe, metadata.
func (w *world) settings(s vpcsim.Settings, pairs [][2]string) vpcsim.Settings {
	for _, p := range pairs {
		d, err := time.ParseDuration(p[1])
		w.check("settings: "+p[0], err)
		f := pacing.Fixed(d)
		switch p[0] {
		case "latency":
			s.Latency = map[string]pacing.Distribution{"*": f}
		case "attach":
			s.Attach = f
		case "detach":
			s.Detach = f
		case "describe":
			s.DescribeLag = f
		case "metadata":
			s.MetadataAdd, s.MetadataRemove = f, f
		default:
			w.fail("unknown setting %q", p[0])
		}
	}
	return s
}

// settings name=duration …
func cmdSettings(w *world, _ bool, args []string) {
	pairs, _ := options(args)
	w.rig.Sim.SetSettings(w.settings(w.rig.Sim.Settings(), pairs))
}

// subnet NAME CIDR [block=CIDR] [zone=ZONE] [tag=value …] creates one.
func cmdSubnet(w *world, _ bool, args []string) {
	pairs, rest := options(args)
	if len(rest) != 2 {
		w.fail("subnet NAME CIDR [block=CIDR] [zone=ZONE] [tag=value …]")
	}
	o := rig.SubnetOptions{CIDR: rest[1], Tags: map[string]string{}}
	for _, p := range pairs {
		switch p[0] {
		case "block":
			o.Block = p[1]
		case "zone":
			o.Zone = p[1]
		default:
			o.Tags[p[0]] = p[1]
		}
	}
	w.subnets[rest[0]], w.cidrs[rest[0]] = w.rig.NewSubnet(o), netip.MustParsePrefix(rest[1])
	w.ts.Setenv(strings.ReplaceAll(rest[0], "-", "_"), w.subnets[rest[0]])
}

// resource is the id of a subnet or a security group, or the word itself.
func (w *world) resource(name string) string {
	if id := w.subnets[name]; id != "" {
		return id
	}
	if id := w.groups[name]; id != "" {
		return id
	}
	return name
}

// tag [-owner] NAME key=value
func cmdTag(w *world, _ bool, args []string) {
	tag := w.rig.Tag
	if args[0] == "-owner" {
		tag, args = w.rig.TagByOwner, args[1:]
	}
	pairs, rest := options(args)
	if len(rest) != 1 || len(pairs) != 1 {
		w.fail("tag [-owner] NAME key=value")
	}
	tag(w.resource(rest[0]), pairs[0][0], pairs[0][1])
}

// untag NAME key
func cmdUntag(w *world, _ bool, args []string) {
	if len(args) != 2 {
		w.fail("untag NAME key")
	}
	w.rig.Untag(w.resource(args[0]), args[1])
}

// internet gives the VPC an internet gateway, unless it has one, and the node a public address.
func cmdInternet(w *world, _ bool, _ []string) {
	if len(w.public) > 0 {
		w.public[w.rig.Public()] = w.rig.Node
		return
	}
	w.public[w.rig.Internet()] = w.rig.Node
}

// nat SUBNET… sends what leaves these subnets to a NAT gateway in the primary subnet.
func cmdNAT(w *world, _ bool, args []string) {
	var private []string
	for _, name := range args {
		private = append(private, w.resource(name))
	}
	w.public[w.rig.NAT(w.rig.Subnet, private...)] = "nat-gateway"
}

// outside NAME [SUBNET] launches an instance that is no node.
func cmdOutside(w *world, _ bool, args []string) {
	subnet := w.rig.Subnet
	if len(args) > 1 {
		subnet = w.resource(args[1])
	}
	id, addr := w.rig.LaunchOutside(subnet)
	w.outside[args[0]] = outsider{instance: id, addr: addr}
}

// fault add action=Describe* code=… share=0.5 count=3 delay=1s drop=request|response garbage=… | fault clear
func cmdFault(w *world, _ bool, args []string) {
	if len(args) == 1 && args[0] == "clear" {
		w.rig.Sim.ClearFault(0)
		return
	}
	if len(args) < 2 || args[0] != "add" {
		w.fail("fault add key=value … | fault clear")
	}
	f := pacing.Fault{Caller: "node:*"}
	pairs, _ := options(args[1:])
	for _, p := range pairs {
		var err error
		switch p[0] {
		case "action":
			f.Action = p[1]
		case "code":
			f.Code = p[1]
		case "share":
			f.Share, err = strconv.ParseFloat(p[1], 64)
		case "count":
			f.Count, err = strconv.Atoi(p[1])
		case "delay":
			f.Delay, err = time.ParseDuration(p[1])
		case "drop":
			f.DropRequest, f.DropResponse = p[1] == "request", p[1] == "response"
		case "garbage":
			f.Garbage = p[1]
		default:
			w.fail("unknown part %q of a fault", p[0])
		}
		w.check("fault: "+p[0], err)
	}
	w.rig.Server.AddFault(f)
}

// mark NAME
func cmdMark(w *world, _ bool, args []string) {
	w.rig.Server.Mark(args[0])
}

// calls [-changes] MARK prints the node's EC2 calls since a mark; with -changes only those that are no reads.
func cmdCalls(w *world, _ bool, args []string) {
	changes := len(args) == 2 && args[0] == "-changes"
	counts := w.rig.Calls(args[len(args)-1])
	w.printf("since %s:\n", args[len(args)-1])
	for _, action := range slices.Sorted(maps.Keys(counts)) {
		if strings.HasPrefix(action, "imds:") || changes && strings.HasPrefix(action, "Describe") {
			continue
		}
		w.printf("- %s %d\n", action, counts[action])
	}
}

// nodeInterfaces are the node's interfaces by device index.
func (w *world) nodeInterfaces() []ec2.NetworkInterface {
	var all []ec2.NetworkInterface
	for _, e := range w.rig.Interfaces() {
		if e.Attachment != nil && e.Attachment.InstanceId == string(w.rig.Instance) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b ec2.NetworkInterface) int { return a.Attachment.DeviceIndex - b.Attachment.DeviceIndex })
	return all
}

// loose are interfaces that are attached to nothing.
func (w *world) loose() int {
	n := 0
	for _, e := range w.rig.Interfaces() {
		if e.Attachment == nil && e.RequesterId == "" && !w.strangers[e.NetworkInterfaceId] {
			n++
		}
	}
	return n
}

// interfaces [-tags] prints the node's interfaces as EC2 has them.
func cmdInterfaces(w *world, _ bool, args []string) {
	names := map[string]string{}
	for name, id := range w.subnets {
		names[id] = name
	}
	for _, e := range w.nodeInterfaces() {
		w.printf("%d in %s with %d addresses%s\n", e.Attachment.DeviceIndex, names[e.SubnetId], len(e.PrivateIpAddresses)-1, tagText(e.TagSet, len(args) > 0))
	}
}

func tagText(tags []ec2.Tag, show bool) string {
	if !show {
		return ""
	}
	text := map[string]string{}
	for _, t := range tags {
		text[t.Key] = t.Value
	}
	data, _ := json.Marshal(text)
	return fmt.Sprintf(" %s", data)
}
