// Package awscni behaves on a node as the Amazon VPC CNI v1.23 does, in what another CNI that takes the node over meets:
// its checkpoint, how it wires pods, its rules, routes and address translation, and what it does of that at its start. It
// is written from the description of that CNI's behaviour and shares nothing with ours but the test kit, so that a mistake
// in one is seen by the other. Only tests import it.
//
// It works by the programs ip, nft and iptables in the node's network namespace. It has no daemon: a test calls it.
package awscni

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
)

// Interface is an interface that EC2 lists for the node.
type Interface struct {
	MAC    string
	Device int
	Addr   netip.Addr
	Subnet netip.Prefix
	Pods   []netip.Addr // its secondary addresses
}

// Table is the route table of the interface at a device index of card 0.
func Table(device int) int {
	if device == 0 {
		return 254
	}
	return device + 1
}

// Pod is a pod that it wired.
type Pod struct {
	Namespace, Name, Container, NetNS string
	Addr                              netip.Addr
	Result                            json.RawMessage // what its ADD printed, in version 0.4.0
}

// Node is the node.
type Node struct {
	TB         testing.TB
	NetNS      string // path of the node's network namespace, in /run/netns
	File       string // the checkpoint
	Backend    Backend
	Blocks     []netip.Prefix // of the VPC
	Interfaces func() []Interface

	entries []entry
}

// document and entry are the checkpoint.
type document struct {
	Version     string  `json:"version"`
	Allocations []entry `json:"allocations"`
}

type entry struct {
	Network   string `json:"networkName"`
	Container string `json:"containerID"`
	IfName    string `json:"ifName"`
	IPv4      string `json:"ipv4,omitempty"`
	At        int64  `json:"allocationTimestamp"`
	Metadata  struct {
		Namespace  string `json:"k8sPodNamespace,omitempty"`
		Name       string `json:"k8sPodName,omitempty"`
		Interfaces int    `json:"interfacesCount,omitempty"`
	} `json:"metadata"`
}

const version = "vpc-cni-ipam/1"

// hash is the end of the name of a pod's link on the node.
func hash(namespace, name string) string {
	sum := sha1.Sum([]byte(namespace + "." + name))
	return hex.EncodeToString(sum[:])[:11]
}

func veth(namespace, name string) string { return "eni" + hash(namespace, name) }

// shell runs a script in a network namespace; each line must succeed.
func (n *Node) shell(space, script string) string {
	n.TB.Helper()
	out, err := testkit.NetnsOutput(space, "sh", "-ec", script)
	if err != nil {
		n.TB.Fatalf("%v: %s\n%s", err, out, script)
	}
	return out
}

// batch gives commands to one process of ip, so that what is removed and added again is away as briefly as with the daemon's
// own messages to the kernel. What is gone already is no error.
func (n *Node) batch(commands string) {
	n.TB.Helper()
	n.shell(n.NetNS, "ip -4 -force -batch - 2>/dev/null <<'E' || true\n"+commands+"\nE")
}

// Start does what the daemon does at its start, in its order: the host's network, the interfaces, the checkpoint. It returns
// the names of the pods that it knows then. An error is one with which the daemon ends.
func (n *Node) Start() ([]string, error) {
	n.TB.Helper()
	n.hostNetwork()
	for _, i := range n.Interfaces() {
		if i.Device > 0 {
			n.setUp(i)
		}
	}
	if err := n.restore(); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range n.entries {
		names = append(names, e.Metadata.Name)
	}
	return names, n.save()
}

// primary is the primary interface and its link's name.
func (n *Node) primary() (Interface, string) {
	n.TB.Helper()
	for _, i := range n.Interfaces() {
		if i.Device == 0 {
			return i, n.link(i.MAC)
		}
	}
	n.TB.Fatal("EC2 lists no primary interface")
	return Interface{}, ""
}

func (n *Node) link(mac string) string {
	n.TB.Helper()
	for line := range strings.Lines(n.shell(n.NetNS, "ip -o link")) {
		f := strings.Fields(line)
		if strings.Contains(line, "link/ether "+mac) && !strings.HasPrefix(f[1], "eni") {
			return strings.TrimSuffix(strings.Split(f[1], "@")[0], ":")
		}
	}
	n.TB.Fatalf("no link has the address %s", mac)
	return ""
}

// setUp configures a secondary interface: its link, its own table, the rule for its own address.
func (n *Node) setUp(i Interface) {
	n.TB.Helper()
	link, table, gateway := n.link(i.MAC), Table(i.Device), i.Subnet.Masked().Addr().Next()
	n.batch(fmt.Sprintf(`link set %[1]s mtu 9001 up
addr flush dev %[1]s scope global
addr add %[2]s/%[3]d dev %[1]s
route del %[5]s dev %[1]s table %[4]d
route replace %[5]s dev %[1]s scope link table %[4]d
route del default table %[4]d
route replace default via %[5]s dev %[1]s table %[4]d
route del %[6]s dev %[1]s
rule del pref 32765 from %[2]s
rule add pref 32765 from %[2]s lookup %[4]d`, link, i.Addr, i.Subnet.Bits(), table, gateway, i.Subnet.Masked()))
}

// restore reads the checkpoint as the daemon does: entries without a link are stale and lose their rules; those whose
// address no interface has are dropped; two of one address end the daemon.
func (n *Node) restore() error {
	n.TB.Helper()
	n.entries = nil
	data, err := os.ReadFile(n.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var d document
	if err = errors.Join(err, json.Unmarshal(data, &d)); err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	if d.Version != version {
		return fmt.Errorf("unknown version %q of the checkpoint", d.Version)
	}
	links := n.shell(n.NetNS, "ip -o link")
	for _, e := range d.Allocations {
		device, known := n.device(e.IPv4)
		switch {
		case !strings.Contains(links, hash(e.Metadata.Namespace, e.Metadata.Name)):
			n.removeRules(e.IPv4)
		case slices.ContainsFunc(n.entries, func(o entry) bool { return o.IPv4 == e.IPv4 }):
			return fmt.Errorf("the checkpoint gives %s to two pods", e.IPv4)
		case known:
			n.entries = append(n.entries, e)
			n.refreshRules(e.IPv4, device)
		}
	}
	return nil
}

// device is the index of the interface that has an address.
func (n *Node) device(addr string) (int, bool) {
	for _, i := range n.Interfaces() {
		for _, a := range i.Pods {
			if a.String() == addr {
				return i.Device, true
			}
		}
	}
	return 0, false
}

// refreshRules deletes the rules "from" a pod and adds one again, if there was one: a lost one is not repaired.
func (n *Node) refreshRules(addr string, device int) {
	n.TB.Helper()
	if strings.Contains(n.shell(n.NetNS, "ip rule"), "from "+addr+" lookup") {
		n.batch(fmt.Sprintf("rule del pref 1536 from %s\nrule add pref 1536 from %[1]s lookup %d", addr, Table(device)))
	}
}

func (n *Node) removeRules(addr string) {
	n.TB.Helper()
	n.shell(n.NetNS, fmt.Sprintf("ip rule del pref 512 to %s 2>/dev/null || true; ip rule del pref 1536 from %[1]s 2>/dev/null || true", addr))
}

// save replaces the checkpoint.
func (n *Node) save() error {
	data, err := json.Marshal(document{version, append([]entry{}, n.entries...)})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(n.File), 0o755); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	tmp := n.File + ".tmp"
	if err := errors.Join(os.WriteFile(tmp, data, 0o600), os.Rename(tmp, n.File)); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// Add gives a pod an address that nobody has, and wires it. device says of which interface; -1: of any.
func (n *Node) Add(p *Pod, device int) {
	n.TB.Helper()
	for _, i := range n.Interfaces() {
		for _, a := range i.Pods {
			taken := slices.ContainsFunc(n.entries, func(e entry) bool { return e.IPv4 == a.String() })
			if taken || device >= 0 && i.Device != device {
				continue
			}
			e := entry{Network: "aws-cni", Container: p.Container, IfName: "eth0", IPv4: a.String(), At: time.Now().UnixNano()}
			e.Metadata.Namespace, e.Metadata.Name, e.Metadata.Interfaces = p.Namespace, p.Name, 1
			n.entries = append(n.entries, e)
			if err := n.save(); err != nil {
				n.TB.Fatal(err)
			}
			p.Addr = a
			n.wire(p, i.Device)
			return
		}
	}
	n.TB.Fatalf("no address is free for pod %s", p.Name)
}

// wire makes the pod's link and what leads to it.
func (n *Node) wire(p *Pod, device int) {
	n.TB.Helper()
	link := veth(p.Namespace, p.Name)
	n.shell(n.NetNS, "ip link del "+link+" 2>/dev/null || true")
	n.shell(p.NetNS, fmt.Sprintf("ip link add eth0 mtu 9001 type veth peer name %s mtu 9001 netns %s", link, filepath.Base(n.NetNS)))
	n.shell(n.NetNS, fmt.Sprintf(`echo 0 >/proc/sys/net/ipv6/conf/%[1]s/accept_ra
ip link set %[1]s up
ip route replace %[2]s dev %[1]s scope link
ip rule del pref 512 to %[2]s 2>/dev/null || true
ip rule add pref 512 to %[2]s lookup main`, link, p.Addr))
	if device > 0 {
		n.shell(n.NetNS, fmt.Sprintf("ip rule del pref 1536 from %s 2>/dev/null || true; ip rule add pref 1536 from %[1]s lookup %d", p.Addr, Table(device)))
	}
	mac := strings.TrimSpace(n.shell(n.NetNS, "cat /sys/class/net/"+link+"/address 2>/dev/null || ip -o link show "+link+" | sed 's/.*ether \\([^ ]*\\).*/\\1/'"))
	n.shell(p.NetNS, fmt.Sprintf(`ip link set eth0 up
ip addr add %s/32 dev eth0
ip route add 169.254.1.1 dev eth0 scope link
ip route add default via 169.254.1.1 dev eth0
ip neigh replace 169.254.1.1 lladdr %s dev eth0 nud permanent`, p.Addr, mac))
	p.Result = json.RawMessage(fmt.Sprintf(`{"cniVersion":"0.4.0","interfaces":[{"name":"%s"},{"name":"eth0","mac":"%d","sandbox":"%s"},`+
		`{"name":"dummy%s","mac":"0","sandbox":"%d"}],"ips":[{"version":"4","interface":1,"address":"%s/32"}],"dns":{}}`,
		link, Table(device), p.NetNS, hash(p.Namespace, p.Name), device, p.Addr))
}

// prevResult is what the plugin reads of a result at a DEL.
type prevResult struct {
	Interfaces []struct{ Name, Mac, Sandbox string }
	IPs        []struct {
		Address   netip.Prefix
		Interface *int
	}
}

// Del ends a pod as the plugin and the daemon do: by its entry, or without one, as after the daemon was away, by the result
// alone. result is in version 0.4.0 to 1.1.0, and may be another plugin's.
func (n *Node) Del(namespace, name, container string, result json.RawMessage) error {
	n.TB.Helper()
	n.entries = slices.DeleteFunc(n.entries, func(e entry) bool { return e.Container == container })
	var r prevResult
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("DEL pod %s/%s: %w", namespace, name, err)
	}
	if len(r.Interfaces) < 3 || len(r.IPs) == 0 || r.IPs[0].Interface == nil || *r.IPs[0].Interface != 1 {
		return fmt.Errorf("DEL pod %s/%s: the result has not the shape of this plugin: %s", namespace, name, result)
	}
	dummy := r.Interfaces[len(r.Interfaces)-1]
	if dummy.Name != "dummy"+hash(namespace, name) || dummy.Mac != "0" {
		return fmt.Errorf("DEL pod %s/%s: interface %+v is not the one that carries the device", namespace, name, dummy)
	}
	addr := r.IPs[0].Address.Addr().String()
	n.removeRules(addr)
	n.shell(n.NetNS, fmt.Sprintf("ip route del %s dev %s 2>/dev/null || true; ip link del %[2]s 2>/dev/null || true", addr, veth(namespace, name)))
	return n.save()
}
