package blackbox

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/awscni"
	"github.com/berth-net/berth/internal/testkit/flow"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

const existingUsage = `existing-cni interface DEVICE COUNT | start [nftables|iptables-nft|iptables-legacy] [BLOCK…] | add [-device DEVICE] POD… | del POD… | vanish POD… | stop | gone`

// existing-cni behaves as the Amazon VPC CNI does on the node; existingUsage has its verbs. interface creates, tags and attaches
// an interface as that CNI does; start does what it does at its start and prints the pods that it knows then.
func cmdExisting(w *world, neg bool, args []string) {
	if len(args) == 0 {
		w.fail("%s", existingUsage)
	}
	switch verb, args := args[0], args[1:]; verb {
	case "interface":
		id := w.rig.CreateInterface(w.number(args[1]), "aws-K8S-"+w.rig.InstanceID(), map[string]string{
			"node.k8s.amazonaws.com/instance_id": w.rig.InstanceID(), "node.k8s.amazonaws.com/createdAt": time.Now().Format(time.RFC3339),
			"cluster.k8s.amazonaws.com/name": "rig", "eks:eni:owner": "amazon-vpc-cni",
		})
		w.rig.Attach(id, w.number(args[0]))
		w.rig.Settle()
	case "start":
		w.startExisting(neg, args)
	case "add":
		w.addByExisting(args)
	case "del":
		for _, name := range w.names(args) {
			p := w.pod(name)
			w.check("DEL", w.existing.Del("default", name, p.Container, w.asVersion("0.4.0", p.Result)))
			w.lost(name)
		}
	case "vanish": // their namespaces are gone, and no DEL came
		for _, name := range w.names(args) {
			_, err := testkit.NetnsOutput(w.pod(name).NetNS, "ip", "link", "del", "eth0")
			w.check("vanish", err)
			w.lost(name)
		}
	case "gone":
		w.existingGone()
	case "stop": // by SIGKILL, as each of its ends is: its socket stays
		w.check("stop", w.existingSocket.Close())
		w.existingSocket = nil
	default:
		w.fail("%s", existingUsage)
	}
}

// existingGone waits until nothing of that CNI's rules is left, and ours are there.
func (w *world) existingGone() {
	script := "nft list ruleset 2>&1; for t in nat mangle; do if grep -q $t /proc/net/ip_tables_names; then " + awscni.Legacy.Program(w.tb) + " -t $t -S; fi; done"
	var out string
	if missing := eventually(patience, func() string {
		var err error
		out, err = testkit.NetnsOutput(w.nodeSpace(), "sh", "-c", script)
		switch {
		case strings.Contains(out, "AWS-") || strings.Contains(out, "aws-cni") || strings.Contains(out, "AWS, "):
			return "its rules are there"
		case !strings.Contains(out, "table ip berth"):
			return fmt.Sprintf("ours are not there: %v", err)
		}
		return ""
	}); missing != "" {
		w.fail("%s:\n%s", missing, out)
	}
}

func (w *world) startExisting(neg bool, args []string) {
	if w.existing == nil {
		backend, blocks := awscni.NFTables, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
		if len(args) > 0 {
			backend, args = awscni.Backend(args[0]), args[1:]
		}
		for _, a := range args {
			blocks = append(blocks, netip.MustParsePrefix(a))
		}
		w.existing = w.rig.Existing(backend, blocks...)
	}
	began, again := time.Now(), w.sentAgain()
	names, err := w.existing.Start()
	w.outcome(neg, err)
	w.runFlows(50) // until what it lost was sent again
	w.own = append(w.own, window{began, time.Now(), w.sentAgain() - again})
	slices.Sort(names)
	w.printf("knows %s\n", strings.Join(names, " "))
	path := filepath.Join(filepath.Dir(w.existing.File), "ipamd.sock")
	_ = os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	w.check("listen", err)
	l.SetUnlinkOnClose(false)
	w.existingSocket = l
	w.tb.Cleanup(func() { _ = l.Close() })
}

func (w *world) addByExisting(args []string) {
	device := -1
	if args[0] == "-device" {
		device, args = w.number(args[1]), args[2:]
	}
	for _, name := range w.names(args) {
		p := w.newPod(name)
		wired := awscni.Pod{Namespace: "default", Name: name, Container: p.Container, NetNS: p.NetNS}
		w.existing.Add(&wired, device)
		p.Addr, p.Result = wired.Addr, w.asVersion("1.1.0", wired.Result)
		w.check("ADD", w.gained(name, p))
		w.ts.Setenv(strings.ReplaceAll(name, "-", "_"), p.Addr.String())
		w.printf("%s: has %s\n", name, p.Addr)
	}
}

// asVersion is a result in another version: a runtime hands the plugin what it kept in the version of the configuration
// that is there now.
func (w *world) asVersion(version string, result json.RawMessage) json.RawMessage {
	r, err := create.CreateFromBytes(result)
	w.check("decode result", err)
	r, err = r.GetAsVersion(version)
	w.check("convert result", err)
	data, err := json.Marshal(r)
	w.check("encode result", err)
	return data
}

// flow start tcp|udp FROM TO begins a steady flow of numbered messages, a hundred a second, each sent back by the other end. flow run
// waits until each has sent so many more; flow end ends all, prints what was counted at both ends, and fails when anything was lost.
func cmdFlow(w *world, neg bool, args []string) {
	switch {
	case len(args) == 4 && args[0] == "start":
		name := fmt.Sprintf("%s from %s to %s", args[1], args[2], args[3])
		_, from := w.place(args[2])
		far, to := w.farEnd(args[3])
		f, err := flow.Start(name, args[1], from, far, to)
		w.check("flow", err)
		w.flows = append(w.flows, f)
	case len(args) == 2 && args[0] == "run":
		w.runFlows(w.number(args[1]))
	case len(args) == 1 && args[0] == "end":
		w.endFlows(neg)
	default:
		w.fail("flow start tcp|udp FROM TO | run COUNT | end")
	}
}

// farEnd is the namespace of a flow's other end, and the address by which it is reached.
func (w *world) farEnd(name string) (space string, addr netip.Addr) {
	if name == "internet" {
		return w.rig.Fabric.InternetNamespace(), fabric.EchoAddr
	}
	addr, space = w.place(name)
	return space, addr
}

// window is a time during which the other CNI sets up its interfaces and rules: it removes and adds them again at each of its
// starts, so that what is lost then is lost without us, too.
type window struct {
	from, to  time.Time
	sentAgain int
}

func (w *world) sentAgain() (n int) {
	for _, f := range w.flows {
		n += f.SentAgain()
	}
	return n
}

// runFlows waits until each flow has sent so many more messages.
func (w *world) runFlows(count int) {
	for _, f := range w.flows {
		end := f.Sent() + count
		if missing := eventually(patience, func() string { return map[bool]string{false: "not yet"}[f.Sent() >= end] }); missing != "" {
			w.fail("flow %s: no %d messages in %s", f.Name, count, patience)
		}
	}
}

func (w *world) endFlows(neg bool) {
	lost, sent, own := 0, 0, 0
	for _, o := range w.own {
		own += o.sentAgain
	}
	var broken []string
	for _, f := range w.flows {
		r := f.End()
		lost, sent = lost+r.Lost(), sent+r.Sent
		w.printf("%s: sent %d, arrived %d, came back %d, segments sent again %d, seen as %d, longest %s\n",
			f.Name, r.Sent, r.Arrived, r.Returned, r.Retransmitted, r.Seen, r.Longest.Round(time.Millisecond))
		for _, at := range r.LostAt {
			if slices.ContainsFunc(w.own, func(o window) bool { return at.After(o.from) && at.Before(o.to) }) {
				own++
			} else {
				w.printf("- lost one of %s\n", at.UTC().Format(time.RFC3339Nano))
			}
		}
		if r.Err != nil || r.Seen != 1 || r.Sent == 0 {
			broken = append(broken, fmt.Sprintf("%s: seen as %d, %v", f.Name, r.Seen, r.Err))
		}
	}
	w.printf("lost %d of %d, and %d while the other CNI set itself up\n", lost-own, sent, own)
	w.flows, w.own = nil, nil
	var err error
	if lost > own || len(broken) > 0 {
		err = fmt.Errorf("lost %d of %d; %s", lost-own, sent, strings.Join(broken, "; "))
	}
	w.outcome(neg, err)
}

// leave FLAG… runs `berth-agent leave`.
func cmdLeave(w *world, neg bool, args []string) {
	out, err := w.rig.Leave(args...)
	w.printf("%s", out)
	w.outcome(neg, err)
}
