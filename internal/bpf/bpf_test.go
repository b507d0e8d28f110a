package bpf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

// mountBPF is a bpffs of the test's own.
func mountBPF(tb testing.TB) string {
	tb.Helper()
	testkit.RequireRoot(tb)
	dir := filepath.Join(tb.TempDir(), testkit.NamePrefix()+"-bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		tb.Fatalf("mount bpffs: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func smallSizes() bpf.Sizes {
	s := bpf.SizesFor(1 << 30)
	s.Flows = 4096
	return s
}

func options(dir string) bpf.Options {
	return bpf.Options{Dir: filepath.Join(dir, "berth"), Sizes: smallSizes(), Settings: bpf.Settings{Timeouts: bpf.DefaultTimeouts()}}
}

func open(tb testing.TB, o bpf.Options) *bpf.Datapath {
	tb.Helper()
	d, err := bpf.Open(o)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	return d
}

func newDatapath(tb testing.TB) *bpf.Datapath {
	tb.Helper()
	d := open(tb, options(mountBPF(tb)))
	tb.Cleanup(func() {
		if err := d.Remove(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func apply(tb testing.TB, d *bpf.Datapath, changes ...tables.Change) {
	tb.Helper()
	if err := d.Apply(tb.Context(), changes); err != nil {
		tb.Fatal(err)
	}
}

// slot is that of the pod of most tests.
const slot = 3

// Ids of the tests' tables.
const (
	classAllowed tables.Class = 1
	classDenied  tables.Class = 2
	classNode    tables.Class = 3
	blockIn      tables.Block = 5
	blockHole    tables.Block = 6
)

const port, otherPort = 8080, 9090

// rule is the number of the rule that allows.
const rule = 77

func word(action policy.Action, rank, rule uint32) tables.Word {
	return tables.Word{Action: uint8(action), Rank: rank, Rule: rule}
}

// allowing is a range of keys that Network allows.
func allowing(first, last uint32) tables.Range {
	return tables.Range{First: first, Last: last, Network: word(policy.Accept, 0, rule)}
}

func onPort(protocol policy.Protocol, port uint16) tables.Range {
	key := tables.Key(uint8(protocol), port)
	return allowing(key, key)
}

// isolated is a set that allows the class, and the block, one port of TCP, UDP and SCTP.
func isolated(number uint32) tables.Set {
	return tables.Set(number) | tables.Isolates | tables.HasBlocks
}

// peers are the addresses' classes and blocks, of both families.
func peers() []tables.Change {
	var changes []tables.Change
	for _, f := range families {
		changes = append(
			changes,
			peer(f.allowed.String(), classAllowed), peer(f.denied.String(), classDenied), peer(f.node.String(), classNode),
			tables.Change{Blocks: &tables.BlockChange{Prefix: f.block, Block: blockIn}},
			tables.Change{Blocks: &tables.BlockChange{Prefix: f.hole, Block: blockHole}},
		)
	}
	return changes
}

func peer(a string, class tables.Class) tables.Change {
	c := &tables.PeerChange{Class: class}
	c.Addrs = append(c.Addrs, addr(a))
	return tables.Change{Peer: c}
}

// rowsOf are the rows of an isolating set, with its ranges from an index on.
func rowsOf(set tables.Set, first uint32) []tables.Change {
	ranges := []tables.Range{onPort(policy.TCP, port), onPort(policy.UDP, port), onPort(policy.SCTP, port)}
	row := tables.Row{First: first, Count: uint32(len(ranges))}
	return []tables.Change{
		{Ranges: &tables.RangesChange{First: first, Ranges: ranges}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: set, ID: uint32(classAllowed)}, Row: row}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: set, OfBlock: true, ID: uint32(blockIn)}, Row: row}},
	}
}

func pod(ingress, egress tables.Set) tables.Change {
	return tables.Change{Pod: &tables.PodChange{Slot: slot, Pod: tables.Pod{Ingress: ingress, Egress: egress}}}
}

// policed is a datapath whose pod is isolated in one direction by set 1.
func policed(tb testing.TB, direction bpf.Direction) *bpf.Datapath {
	tb.Helper()
	d := newDatapath(tb)
	police(tb, d, direction)
	return d
}

func police(tb testing.TB, d *bpf.Datapath, direction bpf.Direction) {
	tb.Helper()
	apply(tb, d, peers()...)
	apply(tb, d, rowsOf(isolated(1), 0)...)
	if direction == bpf.Ingress {
		apply(tb, d, pod(isolated(1), 0))
	} else {
		apply(tb, d, pod(0, isolated(1)))
	}
}

func judge(tb testing.TB, d *bpf.Datapath, f bpf.Frame) bool {
	tb.Helper()
	allowed, err := d.Judge(slot, f)
	if err != nil {
		tb.Fatal(err)
	}
	return allowed
}

// expect judges a frame that came from elsewhere.
func expect(tb testing.TB, d *bpf.Datapath, direction bpf.Direction, f frame, want bool, what string) {
	tb.Helper()
	if got := judge(tb, d, bpf.Frame{Direction: direction, Data: f.bytes()}); got != want {
		tb.Errorf("%s: allowed %t, want %t", what, got, want)
	}
}

// inAllWays runs a test for both families and directions.
func inAllWays(t *testing.T, test func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family)) {
	t.Helper()
	for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
		for _, f := range families {
			t.Run(fmt.Sprintf("%s %s", map[bpf.Direction]string{bpf.Ingress: "ingress", bpf.Egress: "egress"}[direction], f.name), func(t *testing.T) {
				test(t, policed(t, direction), direction, f)
			})
		}
	}
}
