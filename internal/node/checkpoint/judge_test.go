package checkpoint_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node/checkpoint"
)

func entry(pod, container, addr string) checkpoint.Entry {
	return checkpoint.Entry{
		Key: pool.Key{Network: "aws-cni", ContainerID: container, IfName: "eth0"}, Namespace: "shop", Name: pod,
		Addr: netip.MustParseAddr(addr), At: time.Unix(1, 0),
	}
}

func recorded(pod, container, addr string) pool.Allocation {
	e := entry(pod, container, addr)
	return pool.Allocation{Pod: pool.Pod{Key: e.Key, Namespace: e.Namespace, Name: e.Name}, Addr: e.Addr, At: e.At}
}

// on is an address on a pod's live link; container is who made the link, empty for the other CNI.
func on(pod, container, addr string) hostnet.Seen {
	s := hostnet.Seen{Addr: netip.MustParseAddr(addr), Veth: hostnet.VethName("eni", "shop", pod), Live: true, Table: 254}
	if container != "" {
		s.Alias = hostnet.Alias(hostnet.PodKey{ContainerID: container, IfName: "eth0"})
	}
	return s
}

func link(name string) hostnet.Link { return hostnet.Link{Name: name} }

// lines prints a verdict: what is adopted (+), dropped from the journal (-), to be repaired (~) and refused (!).
func lines(v checkpoint.Verdict) string {
	var out []string
	for _, a := range v.Adopt {
		out = append(out, fmt.Sprintf("+ %s %s %s", a.Pod.Name, a.Pod.Key.ContainerID, a.Addr))
	}
	for _, k := range v.Drop {
		out = append(out, "- "+k.ContainerID)
	}
	for _, a := range v.Live {
		out = append(out, "~ "+a.String())
	}
	for _, r := range v.Refused {
		out = append(out, fmt.Sprintf("! %s %s %s: %s, held %t", r.Name, r.Key.ContainerID, r.Addr, r.Why, r.Held))
	}
	return strings.Join(out, "\n")
}

func TestJudge(t *testing.T) {
	web, db := entry("web", "c1", "10.0.0.7"), entry("db", "c2", "10.0.0.8")
	tests := []struct {
		name    string
		entries []checkpoint.Entry
		journal []pool.Allocation
		seen    []hostnet.Seen
		links   []hostnet.Link
		want    string
	}{
		{
			"live pods are taken over",
			[]checkpoint.Entry{web, db},
			nil,
			[]hostnet.Seen{on("web", "", "10.0.0.7"), on("db", "", "10.0.0.8")},
			nil,
			"+ web c1 10.0.0.7\n+ db c2 10.0.0.8",
		},
		{
			"a pod whose link is gone is stale",
			[]checkpoint.Entry{web, db},
			nil,
			[]hostnet.Seen{on("db", "", "10.0.0.8")},
			nil,
			"+ db c2 10.0.0.8\n! web c1 10.0.0.7: its link is gone, held false",
		},
		{
			"a link whose routes were flushed is enough",
			[]checkpoint.Entry{web},
			nil, nil,
			[]hostnet.Link{link(hostnet.VethName("eni", "shop", "web"))},
			"+ web c1 10.0.0.7\n~ 10.0.0.7",
		},
		{
			"links made under another prefix count",
			[]checkpoint.Entry{web},
			nil, nil,
			[]hostnet.Link{link(hostnet.VethName("tap", "shop", "web"))},
			"+ web c1 10.0.0.7\n~ 10.0.0.7",
		},
		{
			"an address named twice is given to neither and held",
			[]checkpoint.Entry{web, entry("db", "c2", "10.0.0.7")},
			nil,
			[]hostnet.Seen{on("web", "", "10.0.0.7")},
			nil,
			"! web c1 10.0.0.7: the checkpoint names it more than once, held true\n! db c2 10.0.0.7: the checkpoint names it more than once, held true",
		},
		{
			"an attachment named twice is not believed",
			[]checkpoint.Entry{web, entry("web", "c1", "10.0.0.8")},
			nil,
			[]hostnet.Seen{on("web", "", "10.0.0.7")},
			nil,
			"! web c1 10.0.0.7: the checkpoint names it more than once, held true\n! web c1 10.0.0.8: the checkpoint names it more than once, held false",
		},
		{
			"the kernel shows the address on another pod's link",
			[]checkpoint.Entry{web},
			nil,
			[]hostnet.Seen{on("db", "", "10.0.0.7"), on("web", "", "10.0.0.9")},
			nil,
			"! web c1 10.0.0.7: the kernel shows the address on another pod's link, held true",
		},
		{
			"the pod was made anew under its name and has another address",
			[]checkpoint.Entry{web},
			nil,
			[]hostnet.Seen{on("web", "", "10.0.0.9")},
			nil,
			"! web c1 10.0.0.7: the link of its name is another sandbox's, held false",
		},
		{
			"our own label names another sandbox",
			[]checkpoint.Entry{web},
			nil,
			[]hostnet.Seen{on("web", "c9", "10.0.0.7")},
			nil,
			"! web c1 10.0.0.7: the link of its name is another sandbox's, held true",
		},
		{
			"an entry without a name",
			[]checkpoint.Entry{{Key: web.Key, Addr: web.Addr}},
			nil,
			[]hostnet.Seen{on("web", "", "10.0.0.7")},
			nil,
			"!  c1 10.0.0.7: the entry is not complete, held true",
		},
		{
			"what the journal has so needs no record",
			[]checkpoint.Entry{web},
			[]pool.Allocation{recorded("web", "c1", "10.0.0.7")},
			[]hostnet.Seen{on("web", "", "10.0.0.7")},
			nil,
			"",
		},
		{
			"the journal's pod was replaced by the other CNI",
			[]checkpoint.Entry{db},
			[]pool.Allocation{recorded("web", "c1", "10.0.0.8")},
			[]hostnet.Seen{on("db", "", "10.0.0.8")},
			nil,
			"+ db c2 10.0.0.8",
		},
		{
			"the file misses a pod of the journal that lives",
			[]checkpoint.Entry{db},
			[]pool.Allocation{recorded("web", "c1", "10.0.0.7")},
			[]hostnet.Seen{on("db", "", "10.0.0.8"), on("web", "c1", "10.0.0.7")},
			nil,
			"+ db c2 10.0.0.8",
		},
		{
			"the file misses a pod of the journal whose link is gone: the start ends it", nil,
			[]pool.Allocation{recorded("web", "c1", "10.0.0.7")},
			nil, nil,
			"",
		},
		{
			"the journal's address is on a link that nobody names", nil,
			[]pool.Allocation{recorded("web", "c1", "10.0.0.7")},
			[]hostnet.Seen{on("other", "", "10.0.0.7")},
			nil,
			"- c1\n! web c1 10.0.0.7: the kernel shows the address on another pod's link, held true",
		},
		{
			"a StatefulSet's pod came back by the other CNI",
			[]checkpoint.Entry{entry("web", "c7", "10.0.0.7")},
			[]pool.Allocation{recorded("web", "c1", "10.0.0.7")},
			[]hostnet.Seen{on("web", "", "10.0.0.7")},
			nil,
			"+ web c7 10.0.0.7",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := checkpoint.Judge(checkpoint.Found{Exists: true, Foreign: true, Entries: tt.entries}, tt.journal, false, checkpoint.Kernel{Seen: tt.seen, Links: tt.links})
			if got := lines(v); got != tt.want || !v.Taken {
				t.Errorf("taken %t, got\n%s\nwant\n%s", v.Taken, got, tt.want)
			}
		})
	}
}

func TestWhoseWordIsNewer(t *testing.T) {
	entries := []checkpoint.Entry{entry("web", "c1", "10.0.0.7")}
	k := checkpoint.Kernel{Seen: []hostnet.Seen{on("web", "", "10.0.0.7")}}
	tests := []struct {
		name  string
		found checkpoint.Found
		lost  bool
		want  bool
	}{
		{"no file", checkpoint.Found{}, true, false},
		{"our own file beside an intact journal", checkpoint.Found{Exists: true, Entries: entries}, false, false},
		{"our own file, the journal is lost", checkpoint.Found{Exists: true, Entries: entries}, true, true},
		{"the other CNI's file beside a journal of former times", checkpoint.Found{Exists: true, Foreign: true, Entries: entries}, false, true},
		{"a first start", checkpoint.Found{Exists: true, Foreign: true, Entries: entries}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := checkpoint.Judge(tt.found, nil, tt.lost, k)
			if v.Taken != tt.want || (len(v.Adopt) == 1) != tt.want {
				t.Errorf("%+v", v)
			}
		})
	}
}

// Whatever file, journal and kernel say: nobody is adopted without a link, no address is adopted twice, and an address that
// the kernel shows either has exactly one pod or is held.
func TestJudgeNeverGivesAnAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pods, containers := []string{"a", "b", "c"}, []string{"", "c1", "c2"}
		addrs := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
		pick := func(list []string, what string) string { return rapid.SampledFrom(list).Draw(t, what) }
		var found checkpoint.Found
		found.Exists, found.Foreign = true, true
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			found.Entries = append(found.Entries, entry(pick(pods, "pod"), pick(containers[1:], "container"), pick(addrs, "addr")))
		}
		var journal []pool.Allocation
		for i, addr := range addrs { // one pod an address, one address an attachment, as the ledger has them
			if rapid.Bool().Draw(t, "recorded") {
				journal = append(journal, recorded(pick(pods, "pod"), fmt.Sprint("c", i), addr))
			}
		}
		var k checkpoint.Kernel
		for _, addr := range addrs {
			if rapid.Bool().Draw(t, "shown") {
				k.Seen = append(k.Seen, on(pick(pods, "pod"), pick(containers, "container"), addr))
			}
		}
		v := checkpoint.Judge(found, journal, false, k)
		owners := map[netip.Addr]string{}
		for _, a := range journal {
			if !slices.Contains(v.Drop, a.Pod.Key) {
				owners[a.Addr] = a.Pod.Name
			}
		}
		seen := map[netip.Addr]bool{}
		for _, a := range v.Adopt {
			if seen[a.Addr] {
				t.Fatalf("%s is adopted twice:\n%s", a.Addr, lines(v))
			}
			seen[a.Addr], owners[a.Addr] = true, a.Pod.Name
		}
		for _, s := range k.Seen {
			if name, ok := owners[s.Addr]; ok && hostnet.VethName("eni", "shop", name) != s.Veth {
				t.Fatalf("%s is pod %s's, the kernel shows it on %s:\n%s", s.Addr, name, s.Veth, lines(v))
			}
		}
	})
}
