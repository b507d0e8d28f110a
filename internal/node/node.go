package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// Config is what the operator set.
type Config struct {
	IPAM     pool.Config
	Settings hostnet.Settings
	// AddTimeout is the longest that an ADD waits for an address; 10 s when zero.
	AddTimeout time.Duration
	// BootedAt is when the host booted; zero when unknown. A missing journal on a host that booted long ago was lost.
	BootedAt time.Time
	// Nonce tells this run's client tokens from those of a run whose journal was lost.
	Nonce string
}

// Ports are the adapters that the loop works with. Meter, Cluster and Checkpoint may be nil.
type Ports struct {
	Cloud    Cloud
	Metadata Metadata
	Host     Host
	Cluster  Cluster
	Journal  Journal
	Guard    Guard // nil: nobody judges pods' packets
	// Checkpoint is what the Amazon VPC CNI reads and writes on this node before and after us.
	Checkpoint Checkpoint
	Meter      Meter
	Clock      Clock
	Log        *slog.Logger
}

// Limits of work that is under way at once.
const (
	maxActions = 16 // calls to EC2
	maxWiring  = 8  // pods being wired or unwired
	// hostEvery is how often host state is compared when nothing signals a change; hostQuiet how long a signal may wait for more.
	hostEvery = 30 * time.Second
	hostQuiet = 500 * time.Millisecond
	// linkRetry is how often the link of a newly attached interface is looked for.
	linkRetry = 200 * time.Millisecond
	// troubleAfter is how long the host's network may be incomplete before anybody is told.
	troubleAfter = 5 * time.Second
	// limitedAfter is how long comparisons may fail before STATUS says so, which takes the node out of service.
	limitedAfter = time.Minute
	// actionTimeout bounds one call to EC2, retries of the adapter included.
	actionTimeout = 30 * time.Second
	hostTimeout   = 20 * time.Second
	wireTimeout   = 20 * time.Second
)

// Node is the loop of one node. Run owns its state; every other method asks it.
type Node struct {
	cfg   Config
	ports Ports
	log   *slog.Logger
	calls chan func() // work for the loop's goroutine
	done  chan struct{}
	ready chan struct{}
	work  sync.WaitGroup

	// What follows belongs to the loop's goroutine.
	ctx     context.Context //nolint:containedctx // the loop's own, for the workers that it starts
	state   *pool.State     // nil until the start is over
	boot    string          // what the start waits for
	adds    map[pool.Key]*addCall
	early   []*addCall // ADDs that came before the start was over
	busy    map[pool.Key][]func()
	wiring  int
	wireQ   []func()
	host    hostState
	plan    ipam.Plan
	acting  int
	said    map[pool.Key]pool.Why
	toldOf  []ipam.Problem         // of which the cluster was told
	untaken string                 // what it was told of settings that are not taken
	lost    []pool.Allocation      // whose address EC2 does not list any more
	gone    map[pool.Key]time.Time // pods of which the kernel shows nothing, since when
	isReady bool
	damage  string
	legacy  legacy // the Amazon VPC CNI's file
}

// New returns a node that Run starts.
func New(cfg Config, ports Ports) *Node {
	if cfg.AddTimeout == 0 {
		cfg.AddTimeout = 10 * time.Second
	}
	n := &Node{
		cfg: cfg, ports: ports, log: ports.Log, calls: make(chan func(), 64), done: make(chan struct{}), ready: make(chan struct{}),
		adds: make(map[pool.Key]*addCall), busy: make(map[pool.Key][]func()), said: make(map[pool.Key]pool.Why),
		boot: journalStep,
	}
	if ports.Checkpoint != nil {
		n.ports.Journal = notingJournal{ports.Journal, &n.legacy.changed}
	}
	return n
}

// Ready is closed once pods can be answered: the primary interface's addresses are known.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Run starts the node and runs its loop until ctx ends. Work under way is given half a second to end.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.ctx = ctx
	n.start()
	err := n.loop(ctx)
	close(n.done)
	n.failWaiting()
	cancel()
	n.awaitWork()
	n.saveCheckpoint()
	return err
}

func (n *Node) awaitWork() {
	ended := make(chan struct{})
	go func() { n.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-n.ports.Clock.After(500 * time.Millisecond):
	}
}

func (n *Node) loop(ctx context.Context) error {
	var hostChanges, clusterChanges <-chan struct{}
	hostChanges = n.ports.Host.Changes()
	if n.ports.Cluster != nil {
		clusterChanges = n.ports.Cluster.Changes()
	}
	for {
		wake := n.step()
		select {
		case <-ctx.Done():
			return nil
		case f := <-n.calls:
			f()
		case <-hostChanges:
			n.host.changed(n.now())
		case <-clusterChanges:
		case <-n.ports.Clock.After(wake):
		}
		n.drain()
	}
}

// drain does what else is there before the next plan.
func (n *Node) drain() {
	for range cap(n.calls) {
		select {
		case f := <-n.calls:
			f()
		default:
			return
		}
	}
}

// step brings everything forward and returns how long nothing needs to be done by time alone.
func (n *Node) step() time.Duration {
	now := n.now()
	n.expire(now)
	if n.state == nil {
		return n.untilDeadline(now, time.Second)
	}
	n.observeCluster()
	for _, g := range n.state.Satisfy(now) {
		n.wire(g)
	}
	n.plan = ipam.Decide(n.state, now)
	for _, a := range n.plan.Actions {
		if n.acting >= maxActions {
			break
		}
		n.act(a)
	}
	n.reconcileHost(now)
	n.explain(now)
	n.compact()
	if !n.isReady && n.state.Ready() {
		n.isReady = true
		close(n.ready)
		n.log.Info("node is ready", run.KeyENI, len(n.state.ENIs()), "provisional", n.state.Provisional())
	}
	wake := n.plan.Wake.Sub(now)
	if n.state.Ready() {
		wake = min(wake, n.host.wake(now))
	}
	wake = n.keepCheckpoint(now, wake)
	return n.untilDeadline(now, max(n.untilEvent(now, wake), time.Millisecond))
}

// untilDeadline shortens d to the first deadline of an ADD that waits.
func (n *Node) untilDeadline(now time.Time, d time.Duration) time.Duration {
	for _, c := range n.adds {
		if !c.granted {
			d = min(d, c.deadline.Sub(now))
		}
	}
	for _, c := range n.early {
		d = min(d, c.deadline.Sub(now))
	}
	return max(d, time.Millisecond)
}

func (n *Node) now() time.Time { return n.ports.Clock.Now() }

// ask runs f in the loop's goroutine; it fails when the loop has ended or ctx ends first.
func (n *Node) ask(ctx context.Context, f func()) error {
	select {
	case n.calls <- f:
		return nil
	case <-n.done:
		return errStopping
	case <-ctx.Done():
		return fmt.Errorf("ask the agent's loop: %w", ctx.Err())
	}
}

// query runs f in the loop's goroutine and returns its answer.
func query[T any](ctx context.Context, n *Node, f func() T) (T, error) {
	reply := make(chan T, 1)
	var none T
	if err := n.ask(ctx, func() { reply <- f() }); err != nil {
		return none, err
	}
	select {
	case v := <-reply:
		return v, nil
	case <-n.done:
		return none, errStopping
	case <-ctx.Done():
		return none, fmt.Errorf("ask the agent's loop: %w", ctx.Err())
	}
}

// tell hands a finished piece of work to the loop; it is dropped when the loop has ended.
func (n *Node) tell(f func()) {
	select {
	case n.calls <- f:
	case <-n.done:
	}
}

// spawn runs f beside the loop.
func (n *Node) spawn(f func()) {
	n.work.Go(f)
}

func (n *Node) observeCluster() {
	if n.ports.Cluster == nil {
		return
	}
	if facts, ok := n.ports.Cluster.Node(); ok {
		n.follow(facts)
	}
	n.tellProblems()
}

// compact shortens the journal when it has grown.
func (n *Node) compact() {
	if n.ports.Journal.Due() {
		wait := n.ports.Journal.Compact(n.state.Snapshot(n.now()))
		n.spawn(func() {
			if err := wait(); err != nil {
				n.log.Warn("compact the journal", run.KeyErr, err)
			}
		})
	}
}
