package blackbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/testkit/rig"
)

const (
	churners = 4
	perSlot  = 3 // pods of one churner at most
)

// churn DURATION SEED TARGET [VARIABLE=value …] lets pods come and go while the agent is killed at random moments and started
// again. It fails when a pod that lives loses its address to another one, or its network.
func cmdChurn(w *world, _ bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	w.check("churn", err)
	var seed uint64
	_, err = fmt.Sscan(args[1], &seed)
	w.check("churn", err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := churn{world: w, target: w.target(args[2])}
	var wg sync.WaitGroup
	for i := range churners {
		wg.Go(func() { c.run(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	kills := c.kill(ctx, rand.New(rand.NewPCG(seed, churners)), args[3:])
	wg.Wait()
	w.printf("%d kills, %d pods added, %d deleted, %d live\n", kills, c.added, c.deleted, len(w.livePods()))
	if len(c.troubles) > 0 {
		w.fail("%s", strings.Join(c.troubles, "\n"))
	}
	if kills == 0 || c.added == 0 || c.deleted == 0 {
		w.fail("nothing was tried: %d kills, %d pods added, %d deleted", kills, c.added, c.deleted)
	}
}

type churn struct {
	*world
	target netip.AddrPort

	lock           sync.Mutex
	added, deleted int
	troubles       []string
}

func (c *churn) trouble(format string, args ...any) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.troubles = append(c.troubles, fmt.Sprintf(format, args...))
}

func (c *churn) count(n *int) {
	c.lock.Lock()
	defer c.lock.Unlock()
	*n++
}

// kill ends the agent now and then, each time at another step of what it does.
func (c *churn) kill(ctx context.Context, dice *rand.Rand, env []string) (kills int) {
	for {
		select {
		case <-ctx.Done():
			return kills
		case <-time.After(time.Duration(dice.IntN(2000)) * time.Millisecond):
		}
		c.agent.Kill()
		kills++
		c.agent = c.rig.StartAgent(env...)
	}
}

// run is one churner: it adds and deletes pods of its own, and looks at them.
func (c *churn) run(ctx context.Context, slot int, dice *rand.Rand) {
	var mine []string
	for i := 0; ctx.Err() == nil; i++ {
		switch {
		case len(mine) < perSlot && (len(mine) == 0 || dice.IntN(2) == 0):
			name := fmt.Sprintf("churn-%d-%d", slot, i)
			p := c.newPod(name)
			if c.addWhile(ctx, name, p) {
				mine = append(mine, name)
				c.count(&c.added)
			}
		case dice.IntN(3) > 0:
			j := dice.IntN(len(mine))
			if c.remove(mine[j]) {
				mine = slices.Delete(mine, j, j+1)
				c.count(&c.deleted)
			}
		default:
			c.look(mine[dice.IntN(len(mine))])
		}
	}
}

// addWhile adds a pod as a kubelet does: a sandbox that failed is deleted, and the next one has another name.
func (c *churn) addWhile(ctx context.Context, name string, p *rig.Pod) bool {
	for ctx.Err() == nil {
		call := c.rig.Add(p)
		if call.Err == nil {
			if err := c.gained(name, p); err != nil {
				c.trouble("%v", err)
			}
			return true
		}
		c.drop(p)
		p.Container += "x"
	}
	return false
}

func (c *churn) remove(name string) bool {
	p := c.livePods()[name]
	c.lost(name) // from the moment on that the runtime asks, the address may be another's
	return c.drop(p)
}

// drop deletes a pod, as often as it takes.
func (c *churn) drop(p *rig.Pod) bool {
	if last := eventually(60*time.Second, func() string {
		if call := c.rig.Plugin("DEL", *p); call.Err != nil {
			return describe(call)
		}
		return ""
	}); last != "" {
		c.trouble("DEL %s: %s", p.Name, last)
		return false
	}
	return true
}

// look asks whether a pod still reaches the instance outside, and is seen with its own address.
func (c *churn) look(name string) {
	p := c.livePods()[name]
	var last error
	if eventually(30*time.Second, func() string {
		saw, err := dial(p.NetNS, c.target, 2*time.Second)
		if last = err; err == nil && saw.addr != p.Addr {
			last = fmt.Errorf("it is seen as %s", saw.addr)
		}
		if last != nil {
			return last.Error()
		}
		return ""
	}) != "" {
		c.trouble("pod %s (%s) lost its network: %v", name, p.Addr, last)
	}
}
