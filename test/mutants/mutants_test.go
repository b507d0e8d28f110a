// Package mutants shows that the simulation would notice if a safety rule were gone: it takes one away at a time and runs the
// simulation, which must fail. `make mutants` runs it; the rules are those of ARCHITECTURE.md.
package mutants

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	run  = flag.Bool("mutants.run", false, "take the rules away; minutes")
	only = flag.String("mutants.only", "", "only the rules with this in their name")
)

// mutant is the code without one rule.
type mutant struct {
	rule string
	file string
	from string // occurs once
	to   string
}

// parts of the simulation, the quickest to notice first: seeds, deaths at every point, faults at every action.
var parts = []string{"^TestSimulation$", "^TestDeathAtEveryPoint$", "^TestFaultAtEveryAction$"}

var mutants = []mutant{
	{
		"1: nothing is given back without a read newer than our last write", "internal/core/ipam/shrink.go",
		"if e.ReadAt.After(e.WroteAt) && !e.Dirty {", "if true {",
	},
	{
		"1: an interface is forgotten after two reads, and not while its link or a pod is here", "internal/core/pool/observe.go",
		"case askedAt.Sub(e.MissingSince) < missingFor || e.primary:\n\t\treturn nil\n\tcase e.Count(InUse, Held) > 0 || e.Configured:",
		"case e.primary:\n\t\treturn nil\n\tcase false:",
	},
	{
		"1: a read that may lag behind our own write forgets no address", "internal/core/ledger/observe.go",
		"\tif lags := b.gained.Add(Settle); lags.After(at) {\n\t\treturn lags\n\t}\n", "",
	},
	{
		"1: a block that a read leaves out is forgotten after two reads, not one", "internal/core/ledger/observe.go",
		"return b.Count(InUse, Held) == 0 && !askedAt.Before(b.DecidedAt())", "return b.Count(InUse, Held) == 0",
	},
	{
		"1: what we gave back does not come back by a read that lags", "internal/core/ledger/observe.go",
		"ok && askedAt.Before(at.Add(Settle)) {\n\t\t\tcontinue", "ok && false && askedAt.Before(at) {\n\t\t\tcontinue",
	},
	{
		"2: an address on a live link that no record names is held", "internal/core/ledger/ledger.go",
		"\tif l.live[a.IP] {\n\t\ta.Phase = Held\n\t}\n", "",
	},
	{
		"2: after a lost journal what reads show is in doubt", "internal/core/ledger/ledger.go",
		"\tl.doubtUntil = now.Add(Settle)\n", "\tl.doubtUntil = now\n",
	},
	{
		"2: a prefix of which a pod has an address is not given back", "internal/core/ledger/address.go",
		"return b.Doubt == \"\" && b.Count(Free) == len(b.addrs)", "return b.Doubt == \"\" && b.Count(Free) > 0",
	},
	{
		"2: metadata alone makes no address usable that the journal does not know", "internal/core/pool/observe.go",
		"e.Confirm(shown[e.ID].Assigned(), s.at.Started)", "s.book.Gain(e.Interface, shown[e.ID].Assigned())",
	},
	{
		"3: a creation is in the journal before it begins", "internal/core/pool/finish.go",
		"return []Record{{Pending: a.Create}}", "return nil",
	},
	{
		"3: what leaves is in the journal before it does", "internal/core/pool/finish.go",
		"\t\te.Leave(a.Blocks)\n\t\ts.at.Shrunk = now\n\t\treturn []Record{e.record()}", "\t\te.Leave(a.Blocks)\n\t\ts.at.Shrunk = now\n\t\treturn nil",
	},
	{
		"5: an address that was given back cools", "internal/core/ledger/ledger.go",
		"if a.Phase == Cooling && !a.Until.After(now) {", "if a.Phase == Cooling {",
	},
	{
		"5: cooling survives a restart", "internal/core/ledger/restore.go",
		"\t\ta.cool(at, until)\n", "\t\ta.cool(at, at)\n",
	},
	{
		"6: while a pod waits nothing is given back", "internal/core/ipam/shrink.go",
		"if p.tally.Waiting > 0 {", "if p.tally.Waiting > 1000 {",
	},
}

func TestEachRuleIsNoticed(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants { // also without -mutants.run: the list must not rot
		if n := occurrences(t, root, m); n != 1 {
			t.Errorf("%s: its text occurs %d times in %s", m.rule, n, m.file)
		}
	}
	if !*run || t.Failed() {
		return
	}
	for _, m := range mutants {
		if !strings.Contains(m.rule, *only) {
			continue
		}
		began := time.Now()
		how := notice(t, root, m)
		if how == "" {
			t.Errorf("nobody notices when this is gone: %s", m.rule)
			how = "NOT NOTICED"
		}
		t.Logf("%-74s %4.0f s  %s", m.rule, time.Since(began).Seconds(), how)
	}
}

func occurrences(t *testing.T, root string, m mutant) int {
	t.Helper()
	return strings.Count(source(t, root, m), m.from)
}

func source(t *testing.T, root string, m mutant) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// notice runs the simulation without a rule and returns the first thing that went wrong, empty when nothing did.
func notice(t *testing.T, root string, m mutant) string {
	t.Helper()
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(source(t, root, m), m.from, m.to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.file): changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if what := play(t, root, m, filepath.Join(dir, "overlay.json"), part); what != "" {
			return what
		}
	}
	return ""
}

// play runs a part of the simulation with the overlay and returns the first thing that went wrong.
func play(t *testing.T, root string, m mutant, overlay, part string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-failfast", "-timeout", "20m", "-overlay", overlay,
		"-run", part, "./internal/node", "-sim.seeds", "3000", "-sim.events", "2000")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || strings.Contains(string(out), "[build failed]") {
		t.Fatalf("%s: %v\n%s", m.rule, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, what, ok := strings.Cut(line, "_test.go:"); ok && !strings.Contains(what, "seeds done") {
			_, what, _ = strings.Cut(what, ": ")
			sound(t, root, what)
			return strings.TrimSpace(what[:min(len(what), 160)])
		}
	}
	return "it failed without a word"
}

// sound fails the test if the seed that noticed a mutant also fails without it.
func sound(t *testing.T, root, what string) {
	t.Helper()
	var seed uint64
	if n, _ := fmt.Sscanf(what, "seed %d:", &seed); n == 0 {
		return
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-run", "^TestSimulation$", "./internal/node",
		"-sim.seed", fmt.Sprint(seed), "-sim.events", "2000")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("seed %d fails with all rules in place: %v\n%s", seed, err, out[max(0, len(out)-2000):])
	}
}
