package blackbox

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node"
)

// agent start [VARIABLE=value …] starts the agent and waits until it serves pods. agent launch does not wait.
// agent stop (SIGTERM), kill (SIGKILL), pause and resume; agent ends waits until it ends by itself. agent beside launches
// another one while the first runs, which agent pause-first stops and agent kill-first ends.
func cmdAgent(w *world, neg bool, args []string) {
	if len(args) == 0 {
		w.fail("agent start | launch | stop | kill | pause | resume | ends")
	}
	if args[0] != "start" && args[0] != "launch" && w.agent == nil {
		w.fail("agent %s: there is none", args[0])
	}
	began := time.Now()
	switch args[0] {
	case "start", "launch":
		w.agent = w.rig.StartAgent(args[1:]...)
		if args[0] == "start" {
			w.outcome(neg, w.ready())
		}
	case "beside":
		w.first = w.agent
		w.agent = w.rig.StartAgent(args[1:]...)
	case "pause-first":
		w.check("pause", w.first.Signal(syscall.SIGSTOP))
	case "kill-first":
		w.first.Kill()
	case "stop":
		w.agent.Stop()
	case "kill":
		w.agent.Kill()
	case "pause":
		w.check("pause", w.agent.Signal(syscall.SIGSTOP))
	case "resume":
		w.check("resume", w.agent.Signal(syscall.SIGCONT))
	case "ends":
		select {
		case <-w.agent.Ended():
		case <-time.After(patience):
			w.fail("the agent still runs")
		}
		w.outcome(neg, map[bool]error{false: fmt.Errorf("the agent ended with exit code %d", w.agent.ExitCode())}[w.agent.ExitCode() == 0])
		cmdLog(w, false, nil)
	default:
		w.fail("unknown: agent %s", args[0])
	}
	w.took = time.Since(began)
}

func (w *world) ready() error {
	missing := eventually(patience, func() string {
		select {
		case <-w.agent.Ended():
			return "the agent ended"
		default:
		}
		if f, err := w.facts(); err != nil {
			return err.Error()
		} else if f["ready"] != "true" {
			return "the agent is not ready; it waits for " + f["starting"]
		}
		return ""
	})
	if missing != "" {
		return fmt.Errorf("%s", missing)
	}
	return nil
}

// log prints the agent's log.
func cmdLog(w *world, _ bool, _ []string) {
	data, err := os.ReadFile(w.agent.Log)
	w.check("read log", err)
	w.printf("%s", data)
}

// pages PATH prints a page of introspection.
func cmdPages(w *world, _ bool, args []string) {
	var v any
	for _, path := range args {
		w.check(path, w.agent.Fetch(path, &v))
		w.printf("%v\n", v)
	}
}

// report is what the scripts look at in /v1/berth.
type report struct {
	Degraded      []string
	QueuedDeletes int
	Share         struct{ Hungry int }
	Node          node.Report
}

// facts are figures by name: of the agent (/v1/berth), of EC2 (ec2-…) and of the pods (in-SUBNET, pods).
func (w *world) facts() (map[string]string, error) {
	var r report
	if err := w.agent.Fetch("/v1/berth", &r); err != nil {
		return nil, err
	}
	t := r.Node.Tally
	degraded := slices.Concat(r.Node.Degraded, r.Node.Lost, r.Degraded)
	wrong := slices.DeleteFunc(slices.Clone(degraded), func(s string) bool { return strings.HasPrefix(s, "API server: ") })
	f := map[string]string{
		"ready": strconv.FormatBool(r.Node.Ready), "starting": r.Node.Starting, "blocked": r.Node.Blocked.String(),
		"eniconfig": r.Node.ENIConfig,
		"degraded":  strings.Join(degraded, "; "), "wrong": strings.Join(wrong, "; "), // most stories have no API server
	}
	managed, barred := 0, 0
	for _, e := range r.Node.ENIs {
		if e.Barred {
			barred++
		}
		if e.Managed && e.Phase == pool.Attached {
			managed++
		}
	}
	numbers := map[string]int{
		"free": t.Free, "used": t.InUse, "cooling": t.Cooling, "held": t.Held, "leaving": t.Leaving, "coming": t.Coming, "waiting": t.Waiting,
		"total": t.Total(), "enis": managed, "barred": barred, "queued": r.QueuedDeletes, "acting": len(r.Node.Acting), "max-enis": r.Node.MaxENIs,
		"share": r.Share.Hungry,
	}
	ec2 := w.nodeInterfaces()
	numbers["ec2-enis"], numbers["ec2-loose"] = len(ec2), w.loose()
	for _, e := range ec2 {
		numbers["ec2-addresses"] += len(e.PrivateIpAddresses) - 1
		numbers[fmt.Sprintf("ec2-addresses-%d", e.Attachment.DeviceIndex)] = len(e.PrivateIpAddresses) - 1
	}
	w.blockFacts(f, ec2)
	pods := w.here()
	numbers["pods"] = len(pods)
	for name, cidr := range w.cidrs {
		numbers["in-"+name] = 0
		for _, p := range pods {
			if cidr.Contains(p.Addr) {
				numbers["in-"+name]++
			}
		}
	}
	for k, v := range numbers {
		f[k] = strconv.Itoa(v)
	}
	return f, nil
}

// facts [NAME…] prints them, all or those named.
func cmdFacts(w *world, _ bool, args []string) {
	f, err := w.facts()
	w.check("facts", err)
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if len(args) == 0 || slices.Contains(args, k) {
			w.printf("%s=%s\n", k, f[k])
		}
	}
}

var condition = regexp.MustCompile(`^([a-zA-Z0-9-]+)(>=|<=|!=|=|~)(.*)$`)

// until [LIMIT] FACT=value FACT>=value FACT~regexp … waits until all hold.
func cmdUntil(w *world, _ bool, args []string) {
	limit := patience
	if d, err := time.ParseDuration(args[0]); err == nil {
		limit, args = d, args[1:]
	}
	began := time.Now()
	missing := eventually(limit, func() string {
		f, err := w.facts()
		if err != nil {
			return err.Error()
		}
		for _, a := range args {
			if m := w.unmet(a, f); m != "" {
				return m
			}
		}
		return ""
	})
	w.took = time.Since(began)
	if missing != "" {
		cmdFacts(w, false, nil)
		w.fail("still not so after %s: %s", limit, missing)
	}
}

// unmet says why a condition does not hold.
func (w *world) unmet(text string, f map[string]string) string {
	m := condition.FindStringSubmatch(text)
	if m == nil {
		w.fail("until: %q is no condition", text)
	}
	have, known := f[m[1]]
	if !known {
		w.fail("until: there is no fact %q", m[1])
	}
	var ok bool
	switch m[2] {
	case "=":
		ok = have == m[3]
	case "!=":
		ok = have != m[3]
	case "~":
		ok = regexp.MustCompile(m[3]).MatchString(have)
	default:
		a, err1 := strconv.Atoi(have)
		b, err2 := strconv.Atoi(m[3])
		if err1 != nil || err2 != nil {
			w.fail("until: %q compares no numbers", text)
		}
		ok = m[2] == ">=" && a >= b || m[2] == "<=" && a <= b
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("want %s, have %s", text, have)
}
