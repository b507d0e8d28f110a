// Package sim runs the simulated fleets of `make sim`: the planner on thousands of nodes beside the existing CNI's rules.
package sim

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit/fleet/scenario"
)

var (
	outPath = flag.String("sim.out", "", "write the rows to this file as JSON; without it nothing is simulated")
	seed    = flag.Uint64("sim.seed", 1, "the seed of every scenario")
	only    = flag.String("sim.only", "", "only the scenarios whose name contains this")
)

// TestFleets runs every scenario, prints its tables and writes the rows. It fails on no figure: the table says which fall
// short. It fails on what must never happen: an address on two pods, or one taken from a pod.
func TestFleets(t *testing.T) {
	if *outPath == "" {
		t.Skip("run by `make sim`")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // memory is there, time is not
	var rows []scenario.Row
	for _, s := range scenario.Scenarios(*seed, scenario.Full()) {
		if !strings.Contains(s.Name, *only) {
			continue
		}
		began := time.Now()
		for _, rep := range s.Run() {
			rep.Print(t.Output())
			rows = append(rows, rep.Rows...)
			for _, w := range rep.Wrong {
				t.Errorf("%s: %s", rep.Title, w)
			}
		}
		t.Logf("%s took %s", s.Name, time.Since(began).Round(time.Second))
		write(t, rows)
	}
	scenario.PrintRows(t.Output(), rows)
}

// write writes what there is so far: a long run that is broken off leaves its rows.
func write(t *testing.T, rows []scenario.Row) {
	t.Helper()
	data, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(*outPath), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*outPath, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
