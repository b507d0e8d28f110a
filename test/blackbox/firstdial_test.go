package blackbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
// dial as soon as it has its network. Their addresses are reused. With VARIABLE=value … after "kill" the agent is killed and started
// again meanwhile. It fails on each wrong verdict.
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
	x := firstDials{world: w, cases: cases, names: make(chan int, count)}
	for i := range count {
		x.names <- i
	}
	close(x.names)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kills, done := 0, make(chan struct{})
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
	w.printf("%d pods dialed, %d allowed, %d denied, %d wrong, %d kills\n", x.allowed+x.denied, x.allowed, x.denied, len(x.wrong), kills)
	if len(x.wrong) > 0 {
		w.fail("%s", strings.Join(x.wrong, "\n"))
	}
	if x.allowed+x.denied != count || (len(args) > 0) != (kills > 0) {
		w.fail("only %d of %d dials, %d kills", x.allowed+x.denied, count, kills)
	}
}

// dialCase is what a pod with a label does first.
type dialCase struct {
	label, to string
	target    netip.AddrPort
	allowed   bool
}

func (w *world) dialCase(text string) dialCase {
	label, rest, ok1 := strings.Cut(text, ">")
	to, verdict, ok2 := strings.Cut(rest, "=")
	if !ok1 || !ok2 || verdict != "allowed" && verdict != "denied" {
		w.fail("%q: want LABEL>POD=allowed or =denied", text)
	}
	return dialCase{label, to, w.target(to), verdict == "allowed"}
}

type firstDials struct {
	*world
	cases []dialCase
	names chan int

	lock            sync.Mutex
	allowed, denied int
	wrong           []string
}

func (x *firstDials) run() {
	for i := range x.names {
		x.one(i)
	}
}

func (x *firstDials) one(i int) {
	c := x.cases[i%len(x.cases)]
	name := fmt.Sprint("dialer-", i)
	x.api.SetPod(name, object{"app": c.label, "run": name})
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
	limit := noAnswer
	if c.allowed {
		limit = longDial
	}
	_, err := dial(p.NetNS, c.target, limit)
	if err == nil && c.allowed {
		err = onlyOneSYN(p.NetNS)
	}
	verdict := ""
	if (err == nil) != c.allowed {
		verdict = fmt.Sprintf("%s with app=%s at %s: dial of %s, which is allowed %t: %v", name, c.label, p.Addr, c.to, c.allowed, err)
	}
	x.note(c, verdict)
	(&churn{world: x.world}).drop(p)
	x.api.Set("pods", name, nil)
}

// onlyOneSYN fails when a namespace has sent a SYN again: the first was dropped.
func onlyOneSYN(space string) error {
	var text []byte
	if err := testkit.TryInNetns(space, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	}); err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i++ {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if at := slices.Index(names, "TCPSynRetrans"); at > 0 && at < len(values) {
			if values[at] != "0" {
				return fmt.Errorf("%s SYN were sent again", values[at])
			}
			return nil
		}
	}
	return errors.New("the kernel does not count SYN that are sent again")
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
