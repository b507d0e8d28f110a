package awscni

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

// Backend is how the node's iptables work, which decides where the rules are.
type Backend string

// The backends.
const (
	// NFTables: version 1.23 where iptables say nf_tables. Marks are a table of its own, the rest is iptables-nft.
	NFTables Backend = "nftables"
	// IPTablesNFT: the same before version 1.23: all is iptables-nft.
	IPTablesNFT Backend = "iptables-nft"
	// Legacy: iptables-legacy, as on Amazon Linux 2.
	Legacy Backend = "iptables-legacy"
)

// Program is the command line of the backend's iptables: the machine's, or that of the packages which `make tools` unpacks.
func (b Backend) Program(tb testing.TB) string {
	tb.Helper()
	name, multi := "iptables-nft", "xtables-nft-multi"
	if b == Legacy {
		name, multi = "iptables-legacy", "xtables-legacy-multi"
	}
	lock := "XTABLES_LOCKFILE=" + filepath.Join(tb.TempDir(), "xtables.lock")
	if path, err := exec.LookPath(name); err == nil {
		return "env " + lock + " " + path
	}
	root := filepath.Join(repository(tb), ".cache", "deb", "node")
	loader, _ := filepath.Glob(filepath.Join(root, "usr/lib*/ld-linux-*.so.*"))
	libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if len(loader) == 0 || len(libs) == 0 {
		return testkit.RequireProgram(tb, name) // says so
	}
	return fmt.Sprintf("env %[5]s XTABLES_LIBDIR=%[1]s/xtables %[2]s --library-path %[1]s:%[3]s/usr/lib --argv0 iptables %[3]s/usr/sbin/%[4]s",
		libs[0], loader[0], root, multi, lock)
}

func repository(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	return dir
}

// hostNetwork makes the part of the host's network that serves all pods.
func (n *Node) hostNetwork() {
	n.TB.Helper()
	i, link := n.primary()
	n.shell(n.NetNS, Rules(n.TB, n.Backend, link, i.Addr, n.Blocks))
}

// Rules is a script that makes the rule of the mark and the address translation of a node: once, whatever is there.
func Rules(tb testing.TB, b Backend, primary string, addr netip.Addr, blocks []netip.Prefix) string {
	tb.Helper()
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("ipt() { %s -w \"$@\"; }", b.Program(tb))
	line(`once() { t=$1 c=$2; shift 2; ipt -t $t -C $c "$@" 2>/dev/null || ipt -t $t -A $c "$@"; }`)
	line(`first() { t=$1 c=$2; shift 2; ipt -t $t -C $c "$@" 2>/dev/null || ipt -t $t -I $c 1 "$@"; }`)
	line("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 2 >/proc/sys/net/ipv4/conf/%s/rp_filter; ip link set %[1]s mtu 9001", primary)
	line("ip rule del pref 1024 fwmark 0x80/0x80 2>/dev/null || true; ip rule add pref 1024 fwmark 0x80/0x80 lookup main")
	line("ipt -t nat -N AWS-SNAT-CHAIN-0 2>/dev/null || true")
	line(`once nat POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0`)
	for _, cidr := range blocks {
		line(`first nat AWS-SNAT-CHAIN-0 -d %s -m comment --comment "AWS SNAT CHAIN" -j RETURN`, cidr)
	}
	line(`once nat AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source %s --random-fully`, addr)
	const comment = `-m comment --comment "AWS, primary ENI"`
	line("once mangle PREROUTING -i %s %s -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-mark 0x80/0x80", primary, comment)
	line("once mangle PREROUTING -i eni+ %s -j CONNMARK --restore-mark --mask 0x80", comment)
	line("once mangle PREROUTING -i vlan+ %s -j CONNMARK --restore-mark --mask 0x80", comment)
	if b == NFTables {
		s.WriteString(connmarkTable(blocks))
		return s.String()
	}
	line("ipt -t nat -N AWS-CONNMARK-CHAIN-0 2>/dev/null || true")
	line(`once nat PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0`)
	for _, cidr := range blocks {
		line(`first nat AWS-CONNMARK-CHAIN-0 -d %s -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j RETURN`, cidr)
	}
	line(`once nat AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80`)
	line(`ipt -t nat -D PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --mask 0x80 2>/dev/null || true`)
	line(`ipt -t nat -A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --mask 0x80`)
	return s.String()
}

func connmarkTable(blocks []netip.Prefix) string {
	var s strings.Builder
	s.WriteString("nft -f - <<'E'\nadd table ip aws-cni\ndelete table ip aws-cni\ntable ip aws-cni {\n\tchain snat-mark {\n")
	for _, b := range blocks {
		fmt.Fprintf(&s, "\t\tip daddr %s return\n", b)
	}
	s.WriteString("\t\tct mark set ct mark or 0x80\n\t}\n\tchain nat-prerouting {\n\t\ttype nat hook prerouting priority -90; policy accept;\n" +
		"\t\tfib daddr type local return\n\t\tiifname \"eni*\" jump snat-mark\n\t\tmeta mark set ct mark and 0x80\n\t}\n}\nE\n")
	return s.String()
}
