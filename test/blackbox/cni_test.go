package blackbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/rig"
)

const cniUsage = `cni add [-within LIMIT] [-background] POD… | refused PREFIX | wait POD… | again POD | sandbox POD | del POD… | result POD | check POD | gc [POD…] | status | old | raw [-stdin FILE] [VARIABLE=value | -VARIABLE …]`

// cni runs the plugin; cniUsage has its verbs. What the plugin prints is on stdout.
func cmdCNI(w *world, neg bool, args []string) {
	if len(args) == 0 {
		w.fail("%s", cniUsage)
	}
	began := time.Now()
	switch verb := args[0]; verb {
	case "add":
		w.add(neg, args[1:])
	case "refused":
		w.refused(args[1])
	case "wait":
		w.wait(neg, args[1:])
	case "again", "sandbox":
		w.again(neg, verb, args[1])
	case "del":
		w.del(neg, args[1:])
	case "check", "status", "gc":
		w.ask(neg, verb, args[1:])
	case "raw":
		w.raw(neg, args[1:])
	case "old": // from here on
		w.rig.OldPlugins.Store(true)
	case "result":
		w.printf("%s\n", w.pod(args[1]).Result)
	default:
		w.fail("%s", cniUsage)
	}
	w.took = time.Since(began)
}

// newPod is a pod of the script's name, with its own network namespace.
func (w *world) newPod(name string) *rig.Pod {
	w.mu.Lock()
	w.serial++
	serial := w.serial
	w.mu.Unlock()
	return &rig.Pod{Name: name, Container: fmt.Sprintf("%s-%s-%d", filepath.Base(w.rig.Dir), name, serial), NetNS: w.space(name)}
}

func (w *world) add(neg bool, args []string) {
	var limit time.Duration
	background := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-background":
			background, args = true, args[1:]
		case args[0] == "-within" && len(args) > 1:
			d, err := time.ParseDuration(args[1])
			w.check("cni add", err)
			limit, args = d, args[2:]
		default:
			w.fail("%s", cniUsage)
		}
	}
	names := w.names(args)
	for _, name := range names {
		p, done := w.newPod(name), make(chan rig.Call, 1)
		w.waiting[name] = done
		r := w.rig
		go func() { done <- w.addOne(r, name, p, limit) }()
	}
	if !background {
		w.wait(neg, names)
	}
}

// addOne adds a pod: once, or as a kubelet does each second until limit is over.
func (w *world) addOne(r *rig.Rig, name string, p *rig.Pod, limit time.Duration) rig.Call {
	for began := time.Now(); ; <-time.After(time.Second) {
		c := r.Add(p)
		if c.Err == nil {
			c.Err = w.gained(name, p)
			return c
		}
		if time.Since(began) > limit {
			return c
		}
	}
}

// refused adds pods one after the other until one is refused, and prints why.
func (w *world) refused(prefix string) {
	for i := range 40 {
		name := fmt.Sprintf("%s-%d", prefix, i+1)
		if c := w.addOne(w.rig, name, w.newPod(name), 0); c.Err != nil {
			w.printf("%s: %s\n", name, describe(c))
			return
		}
	}
	w.fail("40 pods were added, and none was refused")
}

// wait takes the outcomes of ADDs.
func (w *world) wait(neg bool, args []string) {
	for _, name := range w.names(args) {
		done := w.waiting[name]
		if done == nil {
			w.fail("no ADD of %s is under way", name)
		}
		c := <-done
		delete(w.waiting, name)
		if c.Err == nil {
			addr := w.pod(name).Addr
			w.ts.Setenv(strings.ReplaceAll(name, "-", "_"), addr.String())
			w.printf("%s: has %s\n", name, addr)
		} else {
			w.printf("%s: %s\n", name, describe(c))
		}
		w.outcome(neg, c.Err)
	}
}

func describe(c rig.Call) string {
	if e, ok := errors.AsType[*rig.PluginError](c.Err); ok {
		return fmt.Sprintf("code %d: %s; %s", e.Code, e.Msg, e.Details)
	}
	if c.Err != nil {
		return fmt.Sprintf("%v: %s", c.Err, c.Out)
	}
	return "ok"
}

// again repeats the ADD of a pod (again), or adds a second sandbox of the same pod in a namespace of its own (sandbox),
// whose name is the pod's with an apostrophe.
func (w *world) again(neg bool, verb, name string) {
	p := *w.pod(name)
	if verb == "sandbox" {
		p.NetNS, p.Container = testkit.Netns(w.tb), p.Container+"b"
		name += "'"
	}
	c := w.addOne(w.rig, name, &p, 0)
	w.printf("%s: %s\n", name, describe(c))
	w.outcome(neg, c.Err)
	if c.Err == nil {
		w.printf("%s: has %s\n", name, p.Addr)
	}
}

func (w *world) del(neg bool, args []string) {
	names := w.names(args)
	calls := make([]rig.Call, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		p := w.livePods()[name]
		if p == nil {
			p = w.gone[name]
		}
		if p == nil { // deleted already, or never added
			p = &rig.Pod{Name: name, Container: "unknown-" + name, NetNS: w.space(name)}
		}
		wg.Go(func() {
			if calls[i] = w.rig.Plugin("DEL", *p); calls[i].Err == nil {
				w.lost(name)
			}
		})
	}
	wg.Wait()
	for i, name := range names {
		w.printf("%s: %s\n", name, describe(calls[i]))
		w.outcome(neg, calls[i].Err)
	}
}

func (w *world) ask(neg bool, verb string, args []string) {
	var c rig.Call
	switch verb {
	case "check":
		c = w.rig.Plugin("CHECK", *w.pod(args[0]))
	case "status":
		c = w.rig.Plugin("STATUS", rig.Pod{})
	case "gc":
		var conf map[string]any
		w.check("decode", json.Unmarshal(w.rig.Conf(nil), &conf))
		valid := []map[string]string{}
		for _, name := range w.names(args) {
			valid = append(valid, map[string]string{"containerID": w.pod(name).Container, "ifname": "eth0"})
		}
		conf["cni.dev/valid-attachments"] = valid
		data, err := json.Marshal(conf)
		w.check("encode", err)
		c = w.rig.PluginWith("GC", rig.Pod{}, data)
	}
	w.printf("%s\n", describe(c))
	w.outcome(neg, c.Err)
}

// raw runs the plugin with the environment and the standard input that the script says. It begins with what ADD of a pod
// "raw" has; VARIABLE=value changes a variable, -VARIABLE removes it.
func (w *world) raw(neg bool, args []string) {
	env := map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "raw", "CNI_IFNAME": "eth0", "CNI_PATH": w.rig.Bin, "CNI_NETNS": w.space("raw"),
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=raw",
	}
	stdin := w.rig.Conf(nil)
	for i := 0; i < len(args); i++ {
		k, v, ok := strings.Cut(args[i], "=")
		switch {
		case ok:
			env[k] = v
		case k == "-stdin":
			i++
			text := strings.ReplaceAll(w.ts.ReadFile(args[i]), "$RIG", w.rig.Dir)
			stdin = []byte(text)
		default:
			delete(env, strings.TrimPrefix(k, "-"))
		}
	}
	cmd := exec.Command(filepath.Join(w.rig.Bin, "berth-cni"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = w.ts.Stdout(), w.ts.Stderr()
	w.outcome(neg, cmd.Run())
}

// took LEAST MOST says how long the last agent, cni, until or transfer took.
func cmdTook(w *world, _ bool, args []string) {
	least, err1 := time.ParseDuration(args[0])
	most, err2 := time.ParseDuration(args[1])
	if err1 != nil || err2 != nil {
		w.fail("took LEAST MOST")
	}
	if w.took < least || w.took > most {
		w.fail("it took %s, want %s to %s", w.took, least, most)
	}
}

// leaks waits until agent, kernel and EC2 agree about the pods that live, and fails when they do not.
func cmdLeaks(w *world, _ bool, _ []string) {
	const limit = 90 * time.Second // what a link that was just going made the agent hold, it looks at again half a minute later
	missing := eventually(limit, func() string {
		f, err := w.facts()
		if err != nil {
			return err.Error()
		}
		pods := f["pods"]
		rules, routes, links := w.hostTraces()
		switch {
		case f["used"] != pods || f["held"] != "0" || f["queued"] != "0":
			return fmt.Sprintf("%s pods live, the agent has %s in use, %s held, %s deletes queued", pods, f["used"], f["held"], f["queued"])
		case fmt.Sprint(rules) != pods || fmt.Sprint(routes) != pods || fmt.Sprint(links) != pods:
			return fmt.Sprintf("%s pods live, the kernel has %d rules, %d routes, %d links of pods", pods, rules, routes, links)
		case f["ec2-loose"] != "0":
			return f["ec2-loose"] + " interfaces are attached to nothing"
		case f["ec2-total"] != f["total"]:
			return fmt.Sprintf("EC2 has %s addresses, the agent %s", f["ec2-total"], f["total"])
		}
		return ""
	})
	if missing != "" {
		cmdFacts(w, false, nil)
		w.printStrangers()
		w.fail("still not so after %s: %s", limit, missing)
	}
}

// printStrangers prints the pods that the agent has and the script has not.
func (w *world) printStrangers() {
	var r report
	w.check("report", w.agent.Fetch("/v1/berth", &r))
	live := map[string]bool{}
	for _, p := range w.here() {
		live[p.Container] = true
	}
	for _, e := range r.Node.ENIs {
		for _, a := range e.Addresses {
			if a.Phase == pool.Held || a.Pod != nil && !live[a.Pod.Key.ContainerID] {
				w.printf("stranger: %s %s %+v\n", a.IP, a.Phase, a.Pod)
			}
		}
	}
}

// hostTraces counts what the node's kernel has of pods.
func (w *world) hostTraces() (rules, routes, links int) {
	count := func(pattern string, args ...string) int {
		out, err := testkit.NetnsOutput(w.nodeSpace(), "ip", args...)
		w.check("ip", err)
		return strings.Count(out, pattern)
	}
	return count("512:\tfrom all to", "-4", "rule"), count("dev eni", "-4", "route"), count(": eni", "-o", "link")
}
