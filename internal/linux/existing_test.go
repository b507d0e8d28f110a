package linux_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/testkit/awscni"
)

// existing puts the rules of the Amazon VPC CNI onto the node.
func (w *world) existing(b awscni.Backend) {
	w.tb.Helper()
	w.node.run(awscni.Rules(w.tb, b, "eth0", netip.MustParseAddr(nodeIP), w.cfg.VPCCIDRs))
}

// ruleset is all of nftables and of iptables-legacy.
func (w *world) ruleset() string {
	w.tb.Helper()
	legacy := awscni.Legacy.Program(w.tb)
	return w.node.run("nft list ruleset 2>&1; for t in nat mangle; do if grep -q $t /proc/net/ip_tables_names 2>/dev/null; then " + legacy + " -t $t -S; fi; done")
}

func TestRulesOfTheExistingCNIGoOnceOursAreThere(t *testing.T) {
	for _, backend := range []awscni.Backend{awscni.NFTables, awscni.IPTablesNFT} {
		t.Run(string(backend), func(t *testing.T) {
			w := newWorld(t)
			w.attach()
			w.existing(backend)
			iptables := backend.Program(t)
			w.node.run( // somebody else's, in the same chains
				iptables+" -t nat -N KUBE-SERVICES", iptables+" -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
				iptables+" -t mangle -A PREROUTING -i eni+ -m comment --comment 'mine, primary ENI' -j CONNMARK --restore-mark --mask 0x40")
			before := w.ruleset()
			for _, wanted := range []string{"AWS-SNAT-CHAIN-0", "KUBE-SERVICES"} {
				if !strings.Contains(before, wanted) {
					t.Fatalf("the test is wrong: no %s in\n%s", wanted, before)
				}
			}
			changed := strings.Join(w.reconcile(), "\n")
			if !strings.Contains(changed, "nft replace table ip berth") || !strings.Contains(changed, "nft delete chain ip nat AWS-SNAT-CHAIN-0") {
				t.Errorf("changed:\n%s", changed)
			}
			after := w.ruleset()
			if strings.Contains(after, "AWS-") || strings.Contains(after, "aws-cni") {
				t.Errorf("left:\n%s", after)
			}
			saved := w.node.run(iptables + " -t mangle -S; " + iptables + " -t nat -S")
			if !strings.Contains(saved, "mine, primary ENI") || !strings.Contains(saved, "KUBE-SERVICES") || strings.Contains(saved, `"AWS`) {
				t.Errorf("what others have is not as it was:\n%s", saved)
			}
			if again := w.reconcile(); len(again) > 0 {
				t.Errorf("again: %q", again)
			}
			w.existing(backend) // it ran again, or its rules were restored
			if again := strings.Join(w.reconcile(), "\n"); !strings.Contains(again, "AWS-SNAT-CHAIN-0") || strings.Contains(w.ruleset(), "AWS-") {
				t.Errorf("the second time: %s\n%s", again, w.ruleset())
			}
		})
	}
}

// Whatever else is in the tables of iptables-legacy is the same afterwards, to the byte and the packet.
func TestRulesOfTheExistingCNIGoFromIPTablesLegacy(t *testing.T) {
	w := newWorld(t)
	w.attach()
	iptables := awscni.Legacy.Program(t)
	strangers := []string{
		"nat -N KUBE-SERVICES", "nat -N KUBE-POSTROUTING", "nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
		"nat -A OUTPUT -j KUBE-SERVICES", "nat -A POSTROUTING -j KUBE-POSTROUTING", "nat -A KUBE-SERVICES -d 172.20.0.1 -p tcp --dport 443 -j DNAT --to-destination 10.0.2.10:8080",
		"nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN", "nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully",
		"nat -A KUBE-SERVICES -m comment --comment 'counts only'", "mangle -A PREROUTING -i eni+ -m comment --comment 'mine, primary ENI' -j CONNMARK --restore-mark --mask 0x40",
		"mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
	}
	half := len(strangers) / 2
	add := func(rules []string) {
		for _, r := range rules {
			w.node.run(iptables + " -t " + r)
		}
	}
	list := func(options string) string {
		return w.node.run(iptables + " -t nat -S " + options + "; " + iptables + " -t mangle -S " + options)
	}
	add(strangers)
	want := list("")
	w.node.run(iptables+" -t nat -F", iptables+" -t nat -X", iptables+" -t mangle -F")
	add(strangers[:half])
	w.existing(awscni.Legacy)
	add(strangers[half:])
	w.node.run("ping -c 3 -i 0.2 10.0.0.10 >/dev/null || true")
	changed := strings.Join(w.reconcile(), "\n")
	if !strings.Contains(changed, "iptables-legacy -t nat -X AWS-SNAT-CHAIN-0") || !strings.Contains(changed, "iptables-legacy -t nat -X AWS-CONNMARK-CHAIN-0") {
		t.Errorf("changed:\n%s", changed)
	}
	if diff := cmp.Diff(want, list("")); diff != "" {
		t.Errorf("the tables of others (-wanted +got):\n%s", diff)
	}
	if again := w.reconcile(); len(again) > 0 {
		t.Errorf("again: %q", again)
	}
	w.peer.serve()
	w.pod("a", "10.0.0.20", 0).sees("pod by a service of iptables-legacy", "172.20.0.1", 443, "10.0.0.20")
	add([]string{"nat -A KUBE-SERVICES -d 172.20.0.2 -p tcp -j DNAT --to-destination 10.0.2.10"}) // iptables accept what was written
}

func TestChainOfIPTablesLegacyThatSomebodyElseUsesStays(t *testing.T) {
	w := newWorld(t)
	w.attach()
	w.existing(awscni.Legacy)
	iptables := awscni.Legacy.Program(t)
	w.node.run(iptables+" -t nat -N MINE", iptables+" -t nat -A MINE -j AWS-SNAT-CHAIN-0")
	before := w.node.run(iptables + " -t nat -S")
	w.reconcile()
	if diff := cmp.Diff(before, w.node.run(iptables+" -t nat -S")); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
}

// While both are there, in either order, every packet is treated as with one of them.
func TestBothSetsOfRulesTogetherTreatPacketsAsOne(t *testing.T) {
	for _, backend := range []awscni.Backend{awscni.NFTables, awscni.IPTablesNFT, awscni.Legacy} {
		for _, order := range []string{"ours first", "theirs first"} {
			t.Run(string(backend)+"/"+order, func(t *testing.T) {
				w := newWorld(t)
				w.attach()
				if order == "theirs first" {
					w.existing(backend)
				}
				w.host.KeepExisting()
				w.reconcile()
				if order == "ours first" {
					w.existing(backend)
				}
				if rules := w.ruleset(); !strings.Contains(rules, "AWS-SNAT-CHAIN-0") || !strings.Contains(rules, "table ip berth") {
					t.Fatalf("not both are there:\n%s", rules)
				}
				w.internet.serve()
				w.peer.serve()
				a, b := w.pod("a", "10.0.0.20", 0), w.pod("b", "10.1.0.20", 1).serve()
				a.sees("pod of eth0 to the internet", internetIP, 8080, nodeIP)
				b.sees("pod of eth1 to the internet", internetIP, 8080, nodeIP)
				a.sees("pod to pod", "10.1.0.20", 8080, "10.0.0.20")
				b.sees("pod to an instance", peerIP, 8080, "10.1.0.20")
				w.peer.sees("instance to pod", "10.1.0.20", 8080, peerIP)
				w.internet.sees("internet by pod address", "10.1.0.20", 8080, internetIP)
			})
		}
	}
}

// Whoever removed our table by the word of an empty chain would leave new connections to outside the VPC without translation.
func TestChainWithoutTheRuleThatTranslatesIsNobodyWhoTranslates(t *testing.T) {
	for _, backend := range []awscni.Backend{awscni.IPTablesNFT, awscni.Legacy} {
		t.Run(string(backend), func(t *testing.T) {
			w := newWorld(t)
			w.attach()
			w.host.KeepExisting()
			w.reconcile()
			iptables := backend.Program(t)
			w.node.run( // as far as it is at some moment of its start
				iptables+" -t nat -N AWS-SNAT-CHAIN-0", iptables+` -t nat -A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0`,
				iptables+` -t nat -A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN`)
			if got, err := w.host.Translators(); err != nil || got != (hostnet.Translators{Ours: true}) {
				t.Errorf("before its last rule: %+v, %v", got, err)
			}
			w.existing(backend)
			if got, err := w.host.Translators(); err != nil || got != (hostnet.Translators{Ours: true, Theirs: true}) {
				t.Errorf("with all its rules: %+v, %v", got, err)
			}
		})
	}
}

// A rule of somebody else that leads into their chain keeps it from going. That is said, and harms nobody.
func TestChainThatSomebodyElseUsesStays(t *testing.T) {
	w := newWorld(t)
	w.attach()
	w.existing(awscni.NFTables)
	iptables := awscni.NFTables.Program(t)
	w.node.run(iptables+" -t nat -N MINE", iptables+" -t nat -A MINE -j AWS-SNAT-CHAIN-0")
	changed, _, err := w.host.Reconcile(t.Context(), w.cfg)
	if err != nil || strings.Contains(strings.Join(changed, "\n"), "AWS-") {
		t.Errorf("%v, %q", err, changed)
	}
	if rules := w.ruleset(); !strings.Contains(rules, "AWS-SNAT-CHAIN-0") {
		t.Errorf("the test is wrong:\n%s", rules)
	}
	w.node.run(iptables + " -t nat -F MINE")
	w.reconcile()
	if rules := w.ruleset(); strings.Contains(rules, "AWS-") {
		t.Errorf("once nobody uses it:\n%s", rules)
	}
}

func TestExistingRulesAreKnownByTheirText(t *testing.T) {
	for text, want := range map[string]bool{
		"AWS, primary ENI\x00": true, "AWS, primary ENI of mine\x00": false, "jump\x00AWS-SNAT-CHAIN-0\x00": true, "AWS-CONNMARK-CHAIN-3\x00": true, "KUBE-SERVICES\x00": false,
	} {
		if got := hostnet.IsExistingRule([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
