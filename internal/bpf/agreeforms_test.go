package bpf_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
)

// formsOf are the forms that a packet may come in, besides the plain one. Their names are those of the cases that the project's
// requirements number.
func formsOf(q question) []func(question) {
	forms := []func(question){shortFirst, fragments, orphan, live, aboutNothing, nonIP}
	if q.own.Is4() {
		forms = append(forms, options4)
	} else {
		forms = append(forms, extensions, tooManyExtensions, discovery, discoveryFromAfar)
	}
	if q.direction == policy.Ingress {
		forms = append(forms, fromHost)
	}
	return forms
}

// policed tells whether there is a policy that keeps the pod from what cannot be read.
func (q question) policed() bool { return q.set() != 0 }

func shortFirst(q question) {
	q.protocol = policy.TCP
	f := q.frame()
	f.more, f.extensions = true, []uint8{44}
	f.transport = f.body()[:8]
	q.is("P1 first fragment without its header", bpf.Frame{Data: f.bytes()}, !q.policed())
}

func fragments(q question) {
	want := q.verdict()
	f := q.frame()
	f.more, f.extensions = true, []uint8{44}
	f.payload = make([]byte, 24-len(f.body()))
	q.is("P2 first fragment", bpf.Frame{Data: f.bytes()}, want)
	f.offset, f.payload = 24, q.looks()
	q.is("P2 later fragment", bpf.Frame{Data: f.bytes()}, want)
}

// looks is a payload that looks like the header of some other packet, often one that is allowed.
func (q question) looks() []byte {
	port := []uint16{80, 443, 8080, q.port}[q.n.IntN(4)]
	return []byte{0x0f, 0xa0, byte(port >> 8), byte(port), 0, 16, 0, 0, 0, 0, 0, 0, 0x50, syn, 0, 0}
}

func orphan(q question) {
	f := q.frame()
	f.extensions, f.offset, f.payload = []uint8{44}, 24, q.looks()
	q.is("P2 later fragment alone", bpf.Frame{Data: f.bytes()}, !q.policed())
}

func options4(q question) {
	f := q.frame()
	for range 1 + q.n.IntN(10) {
		f.options = append(f.options, q.looks()[:4]...)
	}
	q.is("P3 options", bpf.Frame{Data: f.bytes()}, q.verdict())
}

// known are the extension headers that the program walks over.
var known = []uint8{60, 43, 51, 44, 60}

func extensions(q question) {
	f := q.frame()
	if q.n.IntN(2) == 0 {
		f.extensions = append(f.extensions, 0)
	}
	for range 1 + q.n.IntN(7) {
		f.extensions = append(f.extensions, known[q.n.IntN(len(known))])
	}
	q.is("P5 extension headers", bpf.Frame{Data: f.bytes()}, q.verdict())
}

func tooManyExtensions(q question) {
	f := q.frame()
	for range 9 {
		f.extensions = append(f.extensions, 60)
	}
	if q.n.IntN(2) == 0 {
		f.extensions = []uint8{60, 253}
	}
	q.is("P5 nine, or an unknown one", bpf.Frame{Data: f.bytes()}, !q.policed())
}

func discovery(q question) {
	f := icmp(q.own, q.other, uint8(133+q.n.IntN(5)), 0).toward(bpf.Direction(q.direction), q.own, q.other)
	f.hops = 255
	q.is("P7 neighbour discovery", bpf.Frame{Data: f.bytes()}, true)
}

func discoveryFromAfar(q question) {
	q.protocol, q.port = policy.ICMPv6, 0
	if !q.once() {
		return
	}
	f := icmp(q.own, q.other, uint8(133+q.n.IntN(5)), 0).toward(bpf.Direction(q.direction), q.own, q.other)
	f.hops = 254
	q.is("P7 neighbour discovery from behind a router", bpf.Frame{Data: f.bytes()}, q.verdict())
}

// back is the question of an ICMP error about a packet: it goes the other way, and may be a router's.
func (q question) back(sent frame) (question, frame) {
	q.port, q.protocol = 0, policy.ICMP
	kind, code := uint8(3), uint8(4)
	family := families[0]
	if q.own.Is6() {
		q.protocol, kind, code, family = policy.ICMPv6, 2, 0, families[1]
	}
	if q.direction == policy.Egress { // by a router on the way, or by whom it was sent to
		q.direction = policy.Ingress
		if q.n.IntN(2) == 0 {
			q.other = family.router
		}
	} else {
		q.direction = policy.Egress
	}
	return q, icmp(q.own, q.other, kind, code, about(sent)...).toward(bpf.Direction(q.direction), q.own, q.other)
}

func live(q question) {
	if !q.verdict() {
		return
	}
	f := q.frame()
	q.is("P8 flow", bpf.Frame{Data: f.bytes()}, true)
	q, e := q.back(f)
	q.is("P8 error about a flow", bpf.Frame{Data: e.bytes()}, true)
}

func aboutNothing(q question) {
	q, e := q.back(q.frame())
	if q.once() {
		q.is("P8 error about no flow", bpf.Frame{Data: e.bytes()}, q.verdict())
	}
}

func fromHost(q question) {
	q.is("P9 sent by the node itself", bpf.Frame{Data: q.frame().bytes(), FromHost: true}, true)
}

func nonIP(q question) {
	payload := make([]byte, 46)
	q.is("P10 ARP", bpf.Frame{Data: append(ethernet(0x0806), payload...)}, true)
	q.is("P10 other than IP", bpf.Frame{Data: append(ethernet(0x88cc), payload...)}, !q.policed())
}

// sort is a kind of packet with its verdict.
type sort struct {
	form      string
	six       bool
	direction policy.Direction
	allowed   bool
}

// tally counts packets.
type tally map[sort]int

// mustMeet are the forms with the verdicts that each can have: a for allowed, d for denied. Those of one family or direction name it.
var mustMeet = map[string]string{
	"P1 first fragment without its header": "ad",
	"P2 first fragment":                    "ad",
	"P2 later fragment":                    "ad",
	"P2 later fragment alone":              "ad",
	"P3 options":                           "ad4",
	"P4 TCP":                               "ad",
	"P4 UDP":                               "ad",
	"P4 SCTP":                              "ad",
	"P4 without ports":                     "ad",
	"P5 extension headers":                 "ad6",
	"P5 nine, or an unknown one":           "ad6",
	"P7 neighbour discovery":               "a6",
	"P7 neighbour discovery from behind a router": "ad6",
	"P8 flow":                         "a",
	"P8 error about a flow":           "a",
	"P8 error about no flow":          "ad",
	"P9 sent by the node itself":      "ai",
	"P9 address of a node, forwarded": "ad",
	"P10 ARP":                         "a",
	"P10 other than IP":               "ad",
	"P11 dropped, not rejected":       "d",
}

// check prints the counts, and misses what was not met.
func (m tally) check(t *testing.T) {
	t.Helper()
	total := 0
	for _, form := range slices.Sorted(maps.Keys(mustMeet)) {
		traits := mustMeet[form]
		line := ""
		for _, six := range []bool{false, true} {
			for _, direction := range []policy.Direction{policy.Ingress, policy.Egress} {
				if six && strings.Contains(traits, "4") || !six && strings.Contains(traits, "6") || direction == policy.Egress && strings.Contains(traits, "i") {
					continue
				}
				for _, verdict := range []string{"a", "d"} {
					count := m[sort{form, six, direction, verdict == "a"}]
					if form != "P11 dropped, not rejected" {
						total += count
					}
					if strings.Contains(traits, verdict) {
						line += fmt.Sprintf("  %s v%d %s %d", direction, map[bool]int{false: 4, true: 6}[six], map[string]string{"a": "allowed", "d": "denied"}[verdict], count)
						if count == 0 {
							t.Errorf("%s: never %s, IPv6 %t, %s", form, map[string]string{"a": "allowed", "d": "denied"}[verdict], six, direction)
						}
					} else if count != 0 {
						t.Errorf("%s: met %d times with a verdict that it cannot have", form, count)
					}
				}
			}
		}
		t.Logf("%-44s%s", form, line)
	}
	t.Logf("%d clusters, %d packets", *clusters, total)
}
