package fabric_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

// crash puts a new process in place of the fabric's: it knows nothing, and what served is gone.
func (b *bed) crash() {
	b.t.Helper()
	b.Abandon()
	f, err := fabric.New(b.opt)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Fabric = f
}

func TestRecover(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").instance("gone").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10").
		eni("gone", "gone", private, "10.0.0.40")
	w.get("a").Public = map[netip.Addr]netip.Addr{addr("10.0.0.5"): addr("198.51.100.5")}
	b.apply(w)
	b.listen(b.ns("b"), "10.1.0.10:8080")
	before := b.ip("a", "-o", "link", "show", "eth0")
	b.crash()
	if err := b.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.reaches("a", "", "10.1.0.10:8080") // it works while nobody looks after it

	// Meanwhile the world went on.
	w.remove("gone")
	w.Instances = w.Instances[:2]
	w.get("b").Addresses = append(w.get("b").Addresses, addr("10.1.0.11"))
	w.eni("a1", "a", wide, "10.1.0.20")
	b.apply(w)
	if after := b.ip("a", "-o", "link", "show", "eth0"); after != before {
		t.Errorf("eth0 was %s\nand is %s", before, after)
	}
	b.reaches("a", "", "10.1.0.10:8080")
	if saw := b.reaches("a", "", echo); saw != "198.51.100.5" {
		t.Errorf("the internet saw %s", saw)
	}
	b.add("b", "eth0", "10.1.0.11")
	if n := b.ping("b", "10.1.0.11", "10.0.0.5", 2); n != 2 {
		t.Errorf("%d of 2 pings from an address assigned meanwhile answered", n)
	}
	if n := b.ping("a", "10.0.0.5", "10.0.0.40", 2); n != 0 {
		t.Errorf("%d of 2 pings to an interface deleted meanwhile answered", n)
	}
	if b.Namespace("i-gone") != "" {
		t.Error("an instance terminated meanwhile has a namespace")
	}
}

// Whatever step a crash comes after, the next process finishes the work: here the context ends at every step.
func TestRecoverFromHalfDoneApply(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10").eni("a1", "a", wide, "10.1.0.20")
	for steps := 0; ; steps++ {
		ctx := &countdown{Context: t.Context(), left: steps}
		err := b.Apply(ctx, w.Topology)
		b.crash()
		if err == nil {
			t.Logf("an Apply has %d steps", steps)
			break
		}
		if steps > 200 {
			t.Fatalf("still: %v", err)
		}
	}
	b.apply(w)
	if n := b.ping("a", "10.0.0.5", "10.1.0.10", 2); n != 2 {
		t.Errorf("%d of 2 pings answered", n)
	}
}

// countdown is a context that ends when it has been asked a number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left == 0 {
		return context.Canceled
	}
	c.left--
	return nil
}

// Something else removes what the fabric built; an Apply fails or not, and the one after it has repaired.
func TestRepair(t *testing.T) {
	vpcNamespace := func(b *bed) string { return filepath.Join(b.opt.Dir, b.opt.Prefix+"-"+string(theVPC)) }
	for name, args := range map[string][]string{
		"rules":      {"nft", "delete", "table", "inet", "fabric"},
		"link":       {"ip", "link", "del", "enib"},
		"loop":       {"ip", "link", "del", "loop1"},
		"route":      {"ip", "route", "del", "10.1.0.10"},
		"policy":     {"ip", "rule", "del", "pref", "100"},
		"foreign":    {"ip", "link", "add", "stray", "type", "veth", "peer", "name", "stray1"},
		"half a one": {"ip", "link", "set", "enib", "alias", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
			b.apply(w)
			if out, err := testkit.NetnsOutput(vpcNamespace(b), args[0], args[1:]...); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			b.crash()
			b.apply(w)
			if name == "link" || name == "half a one" {
				b.ip("b", "link", "show", "eth0")
			}
			if n := b.ping("a", "10.0.0.5", "10.1.0.10", 2); n != 2 {
				t.Errorf("%d of 2 pings answered", n)
			}
			if out, _ := testkit.NetnsOutput(vpcNamespace(b), "ip", "-o", "link"); contains(out, "stray") {
				t.Errorf("a stray link stays:\n%s", out)
			}
		})
	}
}

// A change that does not apply, since the tables are not as they were, replaces them without a crash in between.
func TestRepairOfChangedRules(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	path := filepath.Join(b.opt.Dir, b.opt.Prefix+"-"+string(theVPC))
	if out, err := testkit.NetnsOutput(path, "nft", "delete", "table", "inet", "fabric"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.get("b").Addresses = append(w.get("b").Addresses, addr("10.1.0.11"))
	b.apply(w)
	if n := b.ping("a", "10.0.0.5", "10.1.0.10", 2); n != 2 {
		t.Errorf("%d of 2 pings answered", n)
	}
}

func TestCloseTakesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.apply(newTopology().instance("a").eni("a", "a", public, "10.0.0.5"))
	if err := os.WriteFile(filepath.Join(b.opt.Dir, b.opt.Prefix+"-half"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.crash()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(b.opt.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("close left %v, %v", left, err)
	}
	b.apply(newTopology().instance("a").eni("a", "a", public, "10.0.0.5")) // and it can be used again
	if b.Namespace(vpc.InstanceID("i-a")) == "" {
		t.Error("a fabric that was closed builds nothing")
	}
}
