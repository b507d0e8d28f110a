package blackbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/testkit"
)

// dialers add pods and dial at once, side by side.
const dialers = 4

// A dial that is allowed must not need a second SYN, which the kernel sends after a second and counts; how long it takes says more about
// the machine. One that is denied is given up after the time that an allowed one takes many times over.
const (
	longDial = 15 * time.Second
	noAnswer = 80 * time.Millisecond
)

// window COUNT SEED LABEL>POD=allowed|denied … [kill VARIABLE=value …] adds so many pods, whose labels follow the given ones in turn, and has each
// dial as soon as it has its network. Their addresses are reused. With an asterisk after its label each pod is the first of a workload
// of its own, with a policy of its own that lets it dial pods whose app is friend. With VARIABLE=value … after "kill" the agent is killed
// and started again meanwhile. It fails on each wrong verdict.
func cmdWindow(w *world, _ bool, args []string) {
	count, err := strconv.Atoi(args[0])
	w.check("window", err)
	seed, err := strconv.ParseUint(args[1], 10, 64)
	w.check("window", err)
	var cases []dialCase
	args = args[2:]
	for len(args) > 0 && args[0] != "kill" {
		cases = append(cases, w.dialCase(args[0]))
		args = args[1:]
	}
	x := firstDials{world: w, cases: cases, names: make(chan int, count), last: map[netip.Addr]tenant{}}
	for i := range count {
		x.names <- i
	}
	close(x.names)
	defer x.ownPolicies(count)()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kills, done, began := 0, make(chan struct{}), time.Now()
	go func() {
		defer close(done)
		if len(args) > 0 {
			kills = (&churn{world: w}).kill(ctx, rand.New(rand.NewPCG(seed, dialers)), args[1:])
		}
	}()
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(x.run)
	}
	wg.Wait()
	cancel()
	<-done
	w.printf("%d pods dialed, %d allowed, %d denied, %d wrong, %d kills, %d with an address that another workload had a second before, %s\n",
		x.allowed+x.denied, x.allowed, x.denied, len(x.wrong), kills, x.reused, time.Since(began).Round(100*time.Millisecond))
	if len(x.wrong) > 0 {
		w.fail("%s", strings.Join(x.wrong, "\n"))
	}
	if x.allowed+x.denied != count || (len(args) > 0) != (kills > 0) || x.reused == 0 {
		w.fail("only %d of %d dials, %d kills, %d addresses reused", x.allowed+x.denied, count, kills, x.reused)
	}
}

// dialCase is what a pod with a label does first.
type dialCase struct {
	label, to string
	first     bool // of its workload
	target    netip.AddrPort
	allowed   bool
}

func (w *world) dialCase(text string) dialCase {
	label, rest, ok1 := strings.Cut(text, ">")
	to, verdict, ok2 := strings.Cut(rest, "=")
	if !ok1 || !ok2 || verdict != "allowed" && verdict != "denied" {
		w.fail("%q: want LABEL>POD=allowed or =denied", text)
	}
	label, first := strings.CutSuffix(label, "*")
	return dialCase{label, to, first, w.target(to), verdict == "allowed"}
}

// workload is the value of the label app of a pod.
func (x *firstDials) workload(i int) string {
	if c := x.cases[i%len(x.cases)]; !c.first {
		return c.label
	}
	return fmt.Sprint(x.cases[i%len(x.cases)].label, "-", i)
}

// ownPolicies makes those of pods that are the first of their workload, waits until the agent knows them, and returns what removes them.
func (x *firstDials) ownPolicies(count int) (remove func()) {
	var made []string
	for i := range count {
		if x.cases[i%len(x.cases)].first {
			name := x.workload(i)
			made = append(made, name)
			x.api.Set("networkpolicies", name, networkPolicy(name, object{"app": name}, "egress", to(podsOf("app", "friend"))))
		}
	}
	const stranger = "192.0.2.1" // nobody has it, and no policy but this one names it
	made = append(made, "last")
	x.api.Set("networkpolicies", "last", networkPolicy("last", object{"app": "friend"}, "ingress", from(object{"ipBlock": object{"cidr": stranger + "/32"}})))
	if why := x.mapsSay("friend", "ingress", stranger, "tcp", servicePort, true); why != "" {
		x.fail("the agent does not know the policies of each workload: %s", why)
	}
	return func() {
		for _, name := range made {
			x.api.Set("networkpolicies", name, nil)
		}
	}
}

// tenant is who had an address until when, and the port that it dialed from.
type tenant struct {
	workload string
	until    time.Time
	port     int
}

type firstDials struct {
	*world
	cases []dialCase
	names chan int

	lock            sync.Mutex
	allowed, denied int
	reused          int // addresses that another workload had less than a second before
	wrong           []string
	last            map[netip.Addr]tenant
}

func (x *firstDials) run() {
	for i := range x.names {
		x.one(i)
	}
}

func (x *firstDials) one(i int) {
	c := x.cases[i%len(x.cases)]
	name, workload := fmt.Sprint("dialer-", i), x.workload(i)
	x.api.SetPod(name, object{"app": workload, "kind": c.label, "run": name})
	p := x.newPod(name)
	last := ""
	if eventually(time.Minute, func() string {
		last = ""
		if call := x.rig.Add(p); call.Err != nil {
			last = describe(call)
			(&churn{world: x.world}).drop(p)
			p.Container += "x"
		}
		return last
	}) != "" {
		x.note(c, fmt.Sprintf("%s: ADD: %s", name, last))
		return
	}
	before := x.takes(p.Addr, workload)
	port, err := firstDial(p.NetNS, c, before.port)
	verdict := ""
	if err != nil {
		verdict = fmt.Sprintf("%s with app=%s at %s, which %s had before: dial of %s, which is allowed %t: %v",
			name, workload, p.Addr, before.workload, c.to, c.allowed, err)
	}
	x.note(c, verdict)
	(&churn{world: x.world}).drop(p)
	x.api.Set("pods", name, nil)
	x.lock.Lock()
	defer x.lock.Unlock()
	x.last[p.Addr] = tenant{workload, time.Now(), port}
}

// takes says who had an address before.
func (x *firstDials) takes(addr netip.Addr, workload string) tenant {
	x.lock.Lock()
	defer x.lock.Unlock()
	before := x.last[addr]
	if before.workload != workload && time.Since(before.until) < time.Second {
		x.reused++
	}
	return before
}

// firstDial dials as a case says, and returns the port that it dialed from. What must not get through takes the port that the former
// owner of its address has dialed from, whose connection the other side may still know; nothing at all may come back.
func firstDial(space string, c dialCase, port int) (int, error) {
	if c.allowed {
		again, err := tcpCount(space, "netstat", "TCPSynRetrans") // of an earlier pod of the name, too
		if err != nil {
			return 0, err
		}
		saw, err := dial(space, c.target, longDial)
		if err == nil {
			err = stays(space, "netstat", "TCPSynRetrans", again)
		}
		return saw.from, err
	}
	before, err := tcpCount(space, "snmp", "InSegs")
	if err != nil {
		return port, err
	}
	if err := testkit.TryInNetns(space, func() error {
		d := net.Dialer{Timeout: noAnswer, LocalAddr: &net.TCPAddr{Port: port}}
		conn, err := d.DialContext(context.Background(), "tcp4", c.target.String())
		if err != nil {
			return nil //nolint:nilerr // as it must be
		}
		_ = conn.Close()
		return errors.New("it was accepted")
	}); err != nil {
		return port, err
	}
	return port, stays(space, "snmp", "InSegs", before)
}

// stays fails when a namespace has counted on: a SYN was sent again since the first was dropped, or segments came back.
func stays(space, file, name, before string) error {
	now, err := tcpCount(space, file, name)
	if err == nil && now != before {
		err = fmt.Errorf("%s went from %s to %s", name, before, now)
	}
	return err
}

// tcpCount is a counter of TCP of a namespace: pairs of lines, of which the second has the values.
func tcpCount(space, file, name string) (string, error) {
	var text []byte
	if err := testkit.TryInNetns(space, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/" + file)
		return err
	}); err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i++ {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || !strings.HasPrefix(names[0], "Tcp") {
			continue
		}
		if at := slices.Index(names, name); at > 0 && at < len(values) {
			return values[at], nil
		}
	}
	return "", fmt.Errorf("the kernel does not count %s", name)
}

func (x *firstDials) note(c dialCase, wrong string) {
	x.lock.Lock()
	defer x.lock.Unlock()
	if c.allowed {
		x.allowed++
	} else {
		x.denied++
	}
	if wrong != "" {
		x.wrong = append(x.wrong, wrong)
	}
}
