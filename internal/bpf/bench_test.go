package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Benchmarks of a packet, beside the bare look-ups in the same maps by the same keys, and what a node's maps take. In the package
// itself: they use its maps and programs.

func openForBench(tb testing.TB, sizes Sizes) *Datapath {
	tb.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("BERTH_REQUIRE_ROOT") != "" {
			tb.Fatal("needs root to load programs, and BERTH_REQUIRE_ROOT is set")
		}
		tb.Skip("needs root to load programs")
	}
	dir := filepath.Join(tb.TempDir(), "bpf")
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount("bpf", dir, "bpf", 0, "")); err != nil {
		tb.Fatal(err)
	}
	d, err := Open(Options{Dir: filepath.Join(dir, "berth"), Sizes: sizes, Settings: Settings{Timeouts: DefaultTimeouts()}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(d.Remove(), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
			tb.Error(err)
		}
	})
	return d
}

const benchSet = tables.Set(1) | tables.Isolates

var benchPod, benchPeer = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.1.0.7")

// loaded is a datapath with 10,000 peers whose pod of slot 0 may reach one class by TCP at port 443.
func loaded(tb testing.TB) *Datapath {
	tb.Helper()
	d := openForBench(tb, SizesFor(16<<30))
	if err := d.Apply(tb.Context(), tenThousand()); err != nil {
		tb.Fatal(err)
	}
	if err := d.objects.Interfaces.Put(uint32(loopback), uint32(0)); err != nil {
		tb.Fatal(err)
	}
	return d
}

func tenThousand() []tables.Change {
	peers := &tables.PeerChange{Class: 1}
	for i := range 10_000 {
		peers.Addrs = append(peers.Addrs, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	key := tables.Key(unix.IPPROTO_TCP, 443)
	return []tables.Change{
		{Peer: peers},
		{Ranges: &tables.RangesChange{Ranges: []tables.Range{{First: key, Last: key, Network: tables.Word{Action: 1, Rule: 1}}}}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: benchSet, ID: 1}, Row: tables.Row{Count: 1}}},
		{Pod: &tables.PodChange{Pod: tables.Pod{Ingress: benchSet, Egress: benchSet}}},
	}
}

// benchFrame is TCP over IPv4.
func benchFrame(from, to netip.Addr, sport, dport uint16, flags byte) []byte {
	b := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0)
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sport), dport)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0)
}

// lookup is one in a map, by a key.
type lookup struct {
	in  *ebpf.Map
	key any
}

// bare is a program that does nothing but look-ups.
func bare(tb testing.TB, lookups []lookup) *ebpf.Program {
	tb.Helper()
	var code asm.Instructions
	for _, l := range lookups {
		var key bytes.Buffer
		if err := binary.Write(&key, binary.NativeEndian, l.key); err != nil {
			tb.Fatal(err)
		}
		words := key.Bytes()
		for i := 0; i < len(words); i += 4 {
			code = append(code, asm.StoreImm(asm.R10, int16(i-64), int64(int32(binary.NativeEndian.Uint32(words[i:]))), asm.Word))
		}
		code = append(code, asm.LoadMapPtr(asm.R1, l.in.FD()), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -64), asm.FnMapLookupElem.Call())
	}
	code = append(code, asm.Mov.Imm(asm.R0, -1), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: code, License: "Apache-2.0"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// measure is the least of some runs, which alternate with those of the other program.
func measure(b *testing.B, judge, bare *ebpf.Program, frame []byte, want uint32) {
	b.Helper()
	const runs, repeat = 15, 100_000
	var ours, theirs []time.Duration
	for range runs {
		verdict, took, err := judge.Benchmark(frame, repeat, nil)
		if err != nil || verdict != want {
			b.Fatalf("verdict %d, %v, want %d", verdict, err, want)
		}
		ours = append(ours, took)
		if _, took, err = bare.Benchmark(frame, repeat, nil); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, took)
	}
	least := func(d []time.Duration) float64 {
		best := d[0]
		for _, x := range d {
			best = min(best, x)
		}
		return float64(best.Nanoseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(least(ours), "ns/packet")
	b.ReportMetric(least(theirs), "ns/look-ups")
	b.ReportMetric(least(ours)-least(theirs), "ns/more")
}

func BenchmarkPacket(b *testing.B) {
	d := loaded(b)
	if _, err := d.Judge(0, Frame{Direction: Egress, Data: benchFrame(benchPod, benchPeer, 4000, 443, 2)}); err != nil {
		b.Fatal(err)
	}
	if _, err := d.Judge(0, Frame{Direction: Ingress, Data: benchFrame(benchPeer, benchPod, 5000, 443, 2)}); err != nil {
		b.Fatal(err)
	}
	flowKey := func(remote, pod uint16) policyFlowKey {
		k := policyFlowKey{Ifindex: loopback, Remote: addrOf(benchPeer), Protocol: unix.IPPROTO_TCP}
		k.RemotePort, k.PodPort = remote<<8|remote>>8, pod<<8|pod>>8
		return k
	}
	always := []lookup{{d.objects.Settings, uint32(0)}, {d.objects.Interfaces, uint32(loopback)}, {d.objects.Pods, uint32(0)}}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  uint32
		bare  []lookup
	}{
		{"established", benchFrame(benchPod, benchPeer, 4000, 443, 16), actUnspec, append(always, lookup{d.objects.Flows, flowKey(443, 4000)})},
		{"reply", benchFrame(benchPod, benchPeer, 443, 5000, 16), actUnspec, append(always, lookup{d.objects.Flows, flowKey(5000, 443)})},
		{"new denied", benchFrame(benchPod, benchPeer, 4001, 80, 2), actShot, append(
			always, lookup{d.objects.Flows, flowKey(80, 4001)}, lookup{d.objects.Services, addrOf(benchPeer)}, lookup{d.objects.Peers, addrOf(benchPeer)},
			lookup{d.objects.Rows, policyRowKey{Set: uint32(benchSet), Id: 1}}, lookup{d.objects.Ranges, uint32(0)},
			lookup{d.objects.Counts, policyCountKey{Ifindex: loopback, Direction: uint8(Egress), By: uint8(tables.ByIsolation)}},
		)},
	} {
		b.Run(tt.name, func(b *testing.B) { measure(b, d.objects.Egress, bare(b, tt.bare), tt.frame, tt.want) })
	}
}

func BenchmarkPrograms10000Peers(b *testing.B) {
	d := openForBench(b, SizesFor(16<<30))
	changes := tenThousand()
	for b.Loop() {
		if err := d.Apply(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOneMorePeer(b *testing.B) {
	d := loaded(b)
	change := []tables.Change{{Peer: &tables.PeerChange{Class: 1, Addrs: []netip.Addr{benchPeer}}}, {Epoch: true}}
	for b.Loop() {
		if err := d.Apply(b.Context(), change); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWait(b *testing.B) {
	d := openForBench(b, SizesFor(1<<30))
	for name, wait := range map[string]func() error{"every CPU visited": visitCPUs, "grace period": d.barrier.grace} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen loads and verifies the programs, as each start of the agent does.
func BenchmarkOpen(b *testing.B) {
	d := openForBench(b, SizesFor(1<<30))
	for b.Loop() {
		again, err := Open(Options{Dir: d.dir, Settings: Settings{Timeouts: DefaultTimeouts()}})
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// memlock is what the kernel says that a map takes.
func memlock(tb testing.TB, m *ebpf.Map) int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "memlock:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				tb.Fatal(err)
			}
			return n
		}
	}
	tb.Fatal("the kernel does not say what a map takes")
	return 0
}

// TestMemoryOf10000Peers holds what the maps of a node with 10,000 peers take, without the flows, to the project's figure.
func TestMemoryOf10000Peers(t *testing.T) {
	d := loaded(t)
	for i := range uint32(30) { // workloads
		change := []tables.Change{{Row: &tables.RowChange{Key: tables.RowKey{Set: benchSet + tables.Set(i), ID: 1}, Row: tables.Row{Count: 1}}}}
		if err := d.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	o := &d.objects
	sum := 0
	for _, m := range []*ebpf.Map{
		o.Settings, o.Interfaces, o.Pods, o.Peers, o.Blocks4, o.Blocks6, o.Rows, o.Ranges, o.Frags, o.Counts, o.Reasons, o.Events,
	} {
		n := memlock(t, m)
		t.Logf("%8d bytes: %s", n, m)
		sum += n
	}
	t.Logf("%8d bytes, and %d of flows", sum, memlock(t, o.Flows))
	if sum > 4<<20 {
		t.Errorf("maps take %d bytes, at most %d", sum, 4<<20)
	}
}

func TestSizesFor(t *testing.T) {
	for _, tt := range []struct {
		gib                        uint64
		peers, flows, rows, events uint32
	}{
		{1, 32768, 65536, 8192, 65536},
		{2, 32768, 65536, 8192, 65536},
		{4, 131072, 131072, 16384, 65536},
		{8, 131072, 262144, 16384, 65536},
		{24, 131072, 524288, 16384, 65536},
		{64, 524288, 1048576, 65536, 1 << 20},
		{768, 524288, 1048576, 65536, 1 << 20},
	} {
		s := SizesFor(tt.gib << 30)
		if s.Peers != tt.peers || s.Flows != tt.flows || s.Rows != tt.rows || s.Events != tt.events {
			t.Errorf("%d GiB: %+v", tt.gib, s)
		}
		if uint64(s.Flows)*104 > tt.gib<<30/100 {
			t.Errorf("%d GiB: flows take more than a hundredth", tt.gib)
		}
	}
}
