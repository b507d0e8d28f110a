package blackbox

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/testkit/flow"
)

// The storm: 1,000 flows, each of which sends a message in stormPace, and a change of policies or of labels each stormChange.
const (
	stormPace   = 100 * time.Millisecond
	stormChange = 10 * time.Millisecond
	// holdTime is how long a flow that is flipped stays as it is: some of its messages must pass, or not.
	holdTime = 400 * time.Millisecond
	// wayTime is longer than a message is under way.
	wayTime = 50 * time.Millisecond
)

// storm DURATION SEED changes policies and labels a hundred times a second under a thousand flows. Some flows are always allowed, some
// never; the changes have pods judged by other sets and addresses in other classes, and affect neither. Others are allowed and
// denied by turns. What may not arrive once a change is in force fails the story, and so does what is lost and may not be.
func cmdStorm(w *world, _ bool, args []string) {
	if len(args) != 2 {
		w.fail("storm DURATION SEED")
	}
	limit, err := time.ParseDuration(args[0])
	w.check("storm", err)
	seed, err := strconv.ParseUint(args[1], 10, 64)
	w.check("storm", err)
	s := &storm{world: w, swarm: flow.NewSwarm(stormPace), labels: map[string]string{}}
	s.build()
	denied := s.drops()
	w.check("start flows", s.swarm.Start())
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.changes = newNoise(s, seed).run(ctx) })
	for _, f := range s.flips {
		wg.Go(func() { f.run(ctx, s) })
	}
	wg.Wait()
	took := time.Since(began)
	machine, err := s.swarm.End()
	w.check("end flows", err)
	s.judge(took, machine, s.drops()-denied)
}

// storm is one run.
type storm struct {
	*world
	swarm          *flow.Swarm
	steady, closed []*flow.Member
	flips          []*flip
	changes        int

	lock     sync.Mutex
	labels   map[string]string // of the namespace
	troubles []string
}

func (s *storm) trouble(format string, args ...any) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.troubles = append(s.troubles, fmt.Sprintf(format, args...))
}

// networkPolicy is one of namespace default. Rules are those of its only direction.
func networkPolicy(name string, subject object, direction string, rules ...object) object {
	peers := map[string]string{"ingress": "Ingress", "egress": "Egress"}
	if rules == nil {
		rules = []object{}
	}
	return object{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": object{"name": name, "namespace": "default", "uid": "policy-" + name},
		"spec": object{"podSelector": object{"matchLabels": subject}, "policyTypes": []string{peers[direction]}, direction: rules},
	}
}

func from(peers ...object) object { return object{"from": peers} }
func to(peers ...object) object   { return object{"to": peers} }
func podsOf(key string, values ...string) object {
	return object{"podSelector": object{"matchExpressions": []object{{"key": key, "operator": "In", "values": values}}}}
}

// build adds the pods, the policies that always hold, and the flows.
func (s *storm) build() {
	names := []string{}
	pod := func(name, app string) {
		s.api.SetPod(name, object{"app": app})
		names = append(names, name)
	}
	for i := range 4 {
		pod(fmt.Sprint("open-", i), "open")
		pod(fmt.Sprint("client-", i), "client")
	}
	pod("closed-0", "closed")
	pod("closed-1", "closed")
	pod("muzzled-0", "muzzled")
	for _, how := range flipKinds {
		pod("server-"+how, "server-"+how)
		pod("caller-"+how, "caller-"+how)
	}
	s.basePolicies()
	s.add(false, append([]string{"-within", "30s"}, names...))
	for i := range 4 {
		for j := range 4 {
			s.steady = s.flows(s.steady, fmt.Sprint("client-", i), fmt.Sprint("open-", j), 43)
		}
		s.steady = s.flows(s.steady, "outside", fmt.Sprint("open-", i), 5)
		s.closed = s.flows(s.closed, fmt.Sprint("client-", i), "closed-0", 20)
		s.closed = s.flows(s.closed, "muzzled-0", fmt.Sprint("open-", i), 10)
		s.closed = s.flows(s.closed, "outside", "closed-1", 4)
	}
	for _, how := range flipKinds {
		f := &flip{how: how, server: s.pod("server-" + how), caller: s.pod("caller-" + how)}
		f.flows = s.flows(nil, "caller-"+how, "server-"+how, 26)
		s.flips = append(s.flips, f)
	}
}

// basePolicies hold throughout. The namespace's name is a label that no change touches.
func (s *storm) basePolicies() {
	mine := object{"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": "default"}}}
	mine["podSelector"] = object{"matchLabels": object{"app": "client"}}
	set := func(name string, subject object, direction string, rules ...object) {
		s.api.Set("networkpolicies", name, networkPolicy(name, subject, direction, rules...))
	}
	s.setDefault("kubernetes.io/metadata.name", "default")
	outside, _ := s.place("outside")
	port := []object{{"protocol": "UDP", "port": flow.SwarmPort}}
	set("open", object{"app": "open"}, "ingress", object{"from": []object{mine}, "ports": port}, from(podsOf("app", "muzzled")),
		from(object{"ipBlock": object{"cidr": outside.String() + "/32"}}))
	set("clients", object{"app": "client"}, "egress", to(podsOf("app", "open", "closed")))
	set("closed", object{"app": "closed"}, "ingress", from(podsOf("app", "nobody")))
	set("muzzled", object{"app": "muzzled"}, "egress", to(podsOf("app", "nobody")))
}

func (s *storm) flows(more []*flow.Member, from, to string, count int) []*flow.Member {
	_, space := s.place(from)
	addr, far := s.place(to)
	added, err := s.swarm.Add(from+" to "+to, space, far, addr, count)
	s.check("flows", err)
	return append(more, added...)
}

// judge says what the storm has shown.
func (s *storm) judge(took time.Duration, machine, denied int) {
	steady, closed := sum(s.steady), sum(s.closed)
	lost := steady.Lost() + closed.Lost()
	count, late, missing, refused, passed, turns, changes := 0, 0, 0, 0, 0, 0, s.changes
	for _, f := range s.flips {
		lost += sum(f.flows).Lost()
		count, late, missing, refused, passed = count+len(f.flows), late+f.late, missing+f.missing, refused+f.denied, passed+f.passed
		turns, changes = turns+f.turns, changes+f.turns
		s.printf("flipped by its %s: %d times, in force after %s at most; %d messages while denied, %d of them arrived; %d while allowed, %d of them lost\n",
			f.how, f.turns, f.slowest.Round(time.Millisecond), f.denied, f.late, f.passed, f.missing)
		if f.denied == 0 || f.passed == 0 {
			s.trouble("flows that are flipped by their %s were never judged", f.how)
		}
	}
	s.printf("%d changes in %s: %.0f a second\n", changes, took.Round(time.Millisecond), float64(changes)/took.Seconds())
	s.printf("%d steady flows: %d messages, %d lost\n", len(s.steady), steady.Sent, steady.Lost())
	s.printf("%d forbidden flows: %d messages, %d arrived\n", len(s.closed), closed.Sent, closed.Arrived)
	s.printf("%d flipped flows, %d turns: %d messages while denied, %d arrived; %d while allowed, %d lost\n", count, turns, refused, late, passed, missing)
	s.printf("all flows lost %d messages and echoes; policy denied %d packets, the machine dropped %d\n", lost, denied, machine)
	for _, m := range s.steady {
		if lost, unanswered := m.Missing(); len(lost)+len(unanswered) > 0 {
			s.printf("%s: messages %v were lost, echoes of %v\n", m.Name, lost, unanswered)
		}
	}
	if steady.Fault != nil || steady.Lost() > machine {
		s.trouble("%d messages of steady flows were lost, and not by the machine: %v", steady.Lost(), steady.Fault)
	}
	if closed.Arrived > 0 || late > 0 {
		s.trouble("%d messages of forbidden flows and %d of flipped ones arrived although denied", closed.Arrived, late)
	}
	if missing > machine {
		s.trouble("%d messages of flipped flows were lost although allowed", missing)
	}
	if lost > denied+machine {
		s.trouble("%d messages were lost, but policy denied only %d and the machine %d", lost, denied, machine)
	}
	if steady.Sent == 0 || closed.Sent == 0 || float64(changes) < 0.9*took.Seconds()*float64(time.Second/stormChange) {
		s.trouble("too little was tried: %d messages, %d changes", steady.Sent+closed.Sent, changes)
	}
	if len(s.troubles) > 0 {
		s.fail("%s", strings.Join(s.troubles, "\n"))
	}
}

func sum(all []*flow.Member) (t flow.Tally) {
	for _, m := range all {
		one := m.All()
		t.Sent, t.Arrived, t.Returned = t.Sent+one.Sent, t.Arrived+one.Arrived, t.Returned+one.Returned
		if one.Fault != nil {
			t.Fault = fmt.Errorf("%s: %w", m.Name, one.Fault)
		}
	}
	return t
}

// reasonCount is what was remarkable about packets.
var reasonCount = regexp.MustCompile(`(?m)^berth_policy_reason_packets_total.* [1-9].*$`)

var dropCount = regexp.MustCompile(`(?m)^network_policy_drop_count_total\{.*\} ([0-9.e+]+)$`)

// drops is how many packets policy has denied, as the agent tells.
func (s *storm) drops() (total int) {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.rig.Dir, "m"))
	}}}
	defer client.CloseIdleConnections()
	text, err := s.scrape(&client)
	s.check("scrape", err)
	s.printf("%s\n", bytes.Join(reasonCount.FindAll(text, -1), []byte("\n")))
	all := dropCount.FindAllStringSubmatch(string(text), -1)
	if len(all) != 2 {
		s.fail("there are %d counters of denied packets, want one for each direction", len(all))
	}
	for _, m := range all {
		n, err := strconv.ParseFloat(m[1], 64)
		s.check("scrape", err)
		total += int(n)
	}
	return total
}
