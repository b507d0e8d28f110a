// Package bench measures the agent and the plugin on a simulated m5.large against the figures of the existing CNI.
package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/rig"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// only leaves out the measures whose names do not match.
var only = flag.String("bench.only", "", "a regular expression of the measures that run, such as policy")

var outPath = flag.String("bench.out", "", "write the rows to this file as JSON; without it nothing is measured")

// row is a figure beside its baseline: the existing CNI's, measured on a machine like this one (v1.23.1, single runs).
type row struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"atLeast"`
}

// none is the baseline of what the existing CNI has no figure for.
const none = -1

func (r row) met() bool {
	if r.AtLeast {
		return r.Value >= r.Limit
	}
	return r.Value <= r.Limit
}

// slowEC2 is EC2 as the baseline was measured: 0.4 s a call, metadata 2 s behind.
func slowEC2() vpcsim.Settings {
	return vpcsim.Settings{
		Latency:     map[string]pacing.Distribution{"*": pacing.Fixed(400 * time.Millisecond)},
		MetadataAdd: pacing.Fixed(2 * time.Second), MetadataRemove: pacing.Fixed(2 * time.Second),
	}
}

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

// TestTable measures every row, prints the table and writes it. It fails on no figure: the table says which fall short.
func TestTable(t *testing.T) {
	if *outPath == "" {
		t.Skip("run by `make bench`")
	}
	var rows []row
	wanted, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range measures() {
		if wanted.MatchString(m.name) {
			rows = append(rows, m.run(t)...)
		}
	}
	table(t, rows)
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

// measure makes some rows.
type measure struct {
	name string
	run  func(*testing.T) []row
}

func measures() []measure {
	return []measure{
		{"warm", warmAdds},
		{"at-once", atOnce},
		{"burst", freshBurst},
		{"churn", churn},
		{"calls", calls},
		{"throttled", throttledRestart},
		{"prefix", prefixRestart},
		{"adoption", adoption},
		{"policy-add", policyAdds},
		{"policy-peers", policyPeers},
		{"policy-traffic", policyTraffic},
		{"policy-memory", policyMemory},
		{"policy-load", policyLoad},
		{"policy-resolver", policyResolver},
	}
}

func table(t *testing.T, rows []row) {
	t.Helper()
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measure\texisting CNI\tberth\tat most\t")
	for _, r := range rows {
		verdict := "ok"
		if !r.met() {
			verdict = "FALLS SHORT"
		}
		baseline := fmt.Sprintf("%.4g %s", r.Baseline, r.Unit)
		if r.Baseline == none {
			baseline = "–"
		}
		fmt.Fprintf(w, "%s\t%s\t%.4g %s\t%.4g %s\t%s\n", r.Name, baseline, r.Value, r.Unit, r.Limit, r.Unit, verdict)
	}
	_ = w.Flush()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile is the smallest value that p percent of the sorted ones do not exceed.
func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, (len(d)*p+99)/100-1)]
}

// warm is a rig whose pool is filled: three interfaces, 27 addresses.
func warm(t *testing.T, cooldown string) (*rig.Rig, *rig.Agent) {
	t.Helper()
	r := rig.New(t, rig.Options{})
	a := r.StartAgent("MINIMUM_IP_TARGET=27", "WARM_IP_TARGET=1", "IP_COOLDOWN_PERIOD="+cooldown)
	a.Ready()
	testkit.Eventually(t, "27 free addresses", func() bool {
		return tally(a).Free >= 27
	})
	return r, a
}

func tally(a *rig.Agent) target.Tally {
	var report struct {
		Node struct{ Tally target.Tally }
	}
	a.Get("/v1/berth", &report)
	return report.Node.Tally
}

func warmAdds(t *testing.T) []row {
	r, a := warm(t, "0")
	r.Server.Mark("warm")
	var adds, dels []time.Duration
	const n = 200
	for range n {
		p := r.NewPod()
		c := r.Add(&p)
		if c.Err != nil {
			t.Fatalf("ADD: %v\n%s", c.Err, a.Tail())
		}
		adds = append(adds, c.Elapsed)
		d := r.Plugin("DEL", p)
		if d.Err != nil {
			t.Fatalf("DEL: %v", d.Err)
		}
		dels = append(dels, d.Elapsed)
	}
	reads := 0
	for action, count := range r.Calls("warm") {
		if action == "imds:Get" {
			reads += count
		}
	}
	return []row{
		{"warm ADD p50, process start included", ms(percentile(adds, 50)), "ms", 57, 8, false},
		{"warm ADD p99, process start included", ms(percentile(adds, 99)), "ms", 66, 20, false},
		{"DEL answered p50", ms(percentile(dels, 50)), "ms", 11, 8, false},
		{"IMDS reads per ADD", math.Round(float64(reads*10)/n) / 10, "", 1, 0, false},
	}
}

// together runs f n times side by side and returns the time until the last has ended.
func together(n int, f func(i int)) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
	return time.Since(began)
}

// atOnce measures floor and burst in turns, so that both meet the same machine, and takes the medians.
func atOnce(t *testing.T) []row {
	r, a := warm(t, "0")
	const rounds, n = 5, 27
	var floors, bursts []time.Duration
	var rss int64
	for range rounds {
		pods := make([]rig.Pod, n)
		for i := range pods {
			pods[i] = r.NewPod()
		}
		// The links of the last round go a moment after their DELs: they must not slow the floor.
		testkit.Eventually(t, "27 free addresses and no link", func() bool {
			links, err := testkit.NetnsOutput(r.Fabric.Namespace(r.Instance), "ip", "-br", "link")
			return err == nil && !strings.Contains(links, "eni") && tally(a).Free >= n
		})
		floors = append(floors, r.Floor(n))
		bursts = append(bursts, together(n, func(i int) {
			if c := r.Add(&pods[i]); c.Err != nil {
				t.Errorf("ADD: %v", c.Err)
			}
		}))
		rss = max(rss, a.RSS())
		for _, p := range pods {
			if c := r.Plugin("DEL", p); c.Err != nil {
				t.Fatalf("DEL: %v", c.Err)
			}
		}
	}
	floor := percentile(floors, 50)
	return []row{
		{fmt.Sprintf("27 ADDs at once, last (floor %.0f ms)", ms(floor)), ms(percentile(bursts, 50)), "ms", 240, 1.5 * ms(floor), false},
		{"agent memory (RSS), 27 pods", float64(rss) / 1e6, "MB", 62, 45, false},
		{"SIGTERM to exit", a.Stop().Seconds(), "s", 10, 1, false},
	}
}

func freshBurst(t *testing.T) []row {
	r := rig.New(t, rig.Options{Settings: slowEC2()})
	pods := make([]rig.Pod, 27)
	for i := range pods {
		pods[i] = r.NewPod()
	}
	a := r.StartAgent("WARM_ENI_TARGET=") // as our manifest leaves it
	a.Ready()
	last := together(len(pods), func(i int) {
		if _, err := r.AddUntil(&pods[i], time.Second, time.Minute); err != nil {
			t.Errorf("ADD: %v\n%s", err, a.Tail())
		}
	})
	return []row{{"burst of 27 pods on a fresh node, last pod", last.Seconds(), "s", 20.1, 4, false}}
}

func churn(t *testing.T) []row {
	r := rig.New(t, rig.Options{Settings: slowEC2()})
	a := r.StartAgent("WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=5")
	a.Ready()
	var old [5]rig.Pod
	for i := range old {
		old[i] = r.NewPod()
		if _, err := r.AddUntil(&old[i], time.Second, time.Minute); err != nil {
			t.Fatalf("ADD: %v\n%s", err, a.Tail())
		}
	}
	testkit.Eventually(t, "two warm addresses", func() bool {
		counts := tally(a)
		return counts.Free >= 2 && counts.Coming == 0
	})
	fresh := make([]rig.Pod, len(old))
	for i := range fresh {
		fresh[i] = r.NewPod()
	}
	last := together(2*len(old), func(i int) {
		if i < len(old) {
			if c := r.Plugin("DEL", old[i]); c.Err != nil {
				t.Errorf("DEL: %v", c.Err)
			}
			return
		}
		if _, err := r.AddUntil(&fresh[i-len(old)], time.Second, time.Minute); err != nil {
			t.Errorf("ADD: %v\n%s", err, a.Tail())
		}
	})
	return []row{{"churn 5 out, 5 in (WARM_IP_TARGET 2, MINIMUM 5), last pod", last.Seconds(), "s", 30.3, 2, false}}
}

// ec2Calls sums the EC2 actions of a count, and those that change something.
func ec2Calls(calls map[string]int) (all, mutating int) {
	for action, n := range calls {
		switch {
		case strings.HasPrefix(action, "imds:"):
		case strings.HasPrefix(action, "Describe"), strings.HasPrefix(action, "Get"):
			all += n
		default:
			all, mutating = all+n, mutating+n
		}
	}
	return all, mutating
}

func calls(t *testing.T) []row {
	r := rig.New(t, rig.Options{})
	a := r.StartAgent()
	a.Ready()
	r.Server.Mark("start")
	for range 5 {
		p := r.NewPod()
		if _, err := r.AddUntil(&p, time.Second, time.Minute); err != nil {
			t.Fatalf("ADD: %v\n%s", err, a.Tail())
		}
	}
	testkit.Eventually(t, "two finished interfaces", func() bool { return r.Calls("")["ModifyNetworkInterfaceAttribute"] >= 1 })
	t.Logf("fresh node: %v", r.Calls(""))
	fresh, _ := ec2Calls(r.Calls(""))
	a.Kill()
	r.Server.Mark("restart")
	again := r.StartAgent()
	again.Ready()
	p := r.NewPod()
	if _, err := r.AddUntil(&p, 50*time.Millisecond, time.Minute); err != nil {
		t.Fatalf("ADD: %v\n%s", err, again.Tail())
	}
	restart, mutating := ec2Calls(r.Calls("restart"))
	return []row{
		{"EC2 calls, fresh node to two interfaces, tags included", float64(fresh), "", 11, 7, false},
		{"EC2 calls, unchanged restart until its first ADD is answered", float64(restart), "", 5, 1, false},
		{"mutating EC2 calls of that restart", float64(mutating), "", 2, 0, false},
	}
}

func throttledRestart(t *testing.T) []row {
	r := rig.New(t, rig.Options{})
	a := r.StartAgent()
	a.Ready()
	live := map[netip.Addr]string{}
	for range 9 {
		p := r.NewPod()
		if _, err := r.AddUntil(&p, 100*time.Millisecond, time.Minute); err != nil {
			t.Fatalf("ADD: %v\n%s", err, a.Tail())
		}
		live[p.Addr] = p.Name
	}
	a.Kill()
	r.Server.AddFault(pacing.Fault{Action: "DescribeSubnets", Code: "RequestLimitExceeded"})
	again := r.StartAgent()
	ready := again.Ready()
	twice := 0
	for range 9 {
		p := r.NewPod()
		if _, err := r.AddUntil(&p, 100*time.Millisecond, 30*time.Second); err != nil {
			t.Errorf("ADD while DescribeSubnets is throttled: %v", err)
			continue
		}
		if _, taken := live[p.Addr]; taken {
			twice++
		}
		live[p.Addr] = p.Name
	}
	return []row{
		{"restart while DescribeSubnets is throttled: ready", ready.Seconds(), "s", 135, 1, false},
		{"restart while DescribeSubnets is throttled: addresses given twice", float64(twice), "", 9, 0, false},
	}
}
