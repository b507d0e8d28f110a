package scenario

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-net/berth/internal/testkit/fleet"
)

// Row is a figure beside its baseline, as `make bench` writes them.
type Row struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"atLeast"`
	// Bound is what cannot be undercut, where there is such a figure.
	Bound float64 `json:"bound,omitempty"`
	// Note says what the figures do not: that the baseline did not come to its end, for example.
	Note string `json:"note,omitempty"`
}

// Met tells whether the figure is within its limit.
func (r Row) Met() bool {
	if r.AtLeast {
		return r.Value >= r.Limit
	}
	return r.Value <= r.Limit
}

// Report is what one scenario showed.
type Report struct {
	Title  string
	Bound  string // the bound in words and figures; empty where there is none
	Ours   fleet.Figures
	Theirs fleet.Figures
	Rows   []Row
	Wrong  []string // what must never happen, and did, on our side
	// TheirsWrong is the same of the existing CNI's rules.
	TheirsWrong []string
	Audited     int
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func readiness(f fleet.Figures) string {
	if f.Steady {
		return "-"
	}
	if f.Unserved > 0 {
		return fmt.Sprintf("%d without after %s", f.Unserved, seconds(f.Took))
	}
	return seconds(f.Ready)
}

// Print writes the scenario's table.
func (p Report) Print(w io.Writer) {
	fmt.Fprintf(w, "\n== %s: %d nodes, %d pods\n", p.Title, p.Ours.Nodes, p.Ours.Pods)
	if p.Bound != "" {
		fmt.Fprintf(w, "   bound: %s\n", p.Bound)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(what string, of func(fleet.Figures) string) {
		fmt.Fprintf(t, "   %s\t%s\t%s\t\n", what, of(p.Theirs), of(p.Ours))
	}
	fmt.Fprintf(t, "   \texisting CNI\tberth\t\n")
	line("all pods have an address", readiness)
	line("wait p50 / p99 / max", func(f fleet.Figures) string {
		return seconds(f.P50) + " / " + seconds(f.P99) + " / " + seconds(f.Max)
	})
	line("ADDs answered with an error", func(f fleet.Figures) string { return fmt.Sprint(f.FailedAdds) })
	line("addresses idle, mean / max", func(f fleet.Figures) string { return fmt.Sprintf("%.0f / %.0f", f.IdleMean, f.IdleMax) })
	line("EC2 calls per node", func(f fleet.Figures) string { return fmt.Sprintf("%.1f", f.PerNode()) })
	line("EC2 calls / throttled", func(f fleet.Figures) string { a, b := f.Attempts(); return fmt.Sprintf("%d / %d", a, b) })
	actions := maps.Clone(p.Ours.Calls)
	maps.Copy(actions, p.Theirs.Calls)
	for _, a := range slices.SortedFunc(maps.Keys(actions), cmp.Compare) {
		line("  "+a+" ok/throttled/refused", func(f fleet.Figures) string {
			c := f.Calls[a]
			return fmt.Sprintf("%d/%d/%d", c.OK, c.Throttled, c.Refused)
		})
	}
	_ = t.Flush()
	if len(p.Wrong) > 0 {
		fmt.Fprintf(w, "   WRONG, ours:\n     %s\n", strings.Join(p.Wrong, "\n     "))
	}
	if len(p.TheirsWrong) > 0 {
		fmt.Fprintf(w, "   wrong, existing CNI:\n     %s\n", strings.Join(p.TheirsWrong, "\n     "))
	}
}

// PrintRows writes the table of what was asked for.
func PrintRows(w io.Writer, rows []Row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nmeasure\texisting CNI\tberth\tlimit\tbound\t\t")
	for _, r := range rows {
		verdict, limit, bound := "ok", "at most", ""
		if !r.Met() {
			verdict = "FALLS SHORT"
		}
		if r.AtLeast {
			limit = "at least"
		}
		if r.Bound > 0 {
			bound = fmt.Sprintf("%.4g %s", r.Bound, r.Unit)
		}
		fmt.Fprintf(t, "%s\t%.4g %s\t%.4g %s\t%s %.4g %s\t%s\t%s\t%s\n", r.Name, r.Baseline, r.Unit, r.Value, r.Unit, limit, r.Limit, r.Unit, bound, verdict, r.Note)
	}
	_ = t.Flush()
}
