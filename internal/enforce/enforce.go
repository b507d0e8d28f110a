// Package enforce enforces network policy on a node: it is told of policies and of what they depend on, has them compiled for the
// pods of its node, and has the datapath follow.
//
//	API server ──► View ──┐
//	ADD, DEL ─────────────┼──► [ loop ] ──► compile.Compiler ──► changes ──► Datapath
//	results ──────────────┘
//
// One goroutine owns everything. It guarantees:
//
//  1. A pod's own side is known before its ADD is answered: its labels by the UID that the runtime gave, all policies, all
//     namespaces. While one of these is not known the ADD waits, and fails in the end; nothing is let through meanwhile.
//  2. Changes that the datapath refuses are made again, from the same one on, before any other: no packet sees a half of them.
//  3. When the process ends the datapath goes on as it was.
package enforce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/names"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/run"
)

// Datapath is the kernel's side. internal/bpf implements it.
type Datapath interface {
	// Apply makes changes, in their order. After an error those from some change on may not have been made; making all of them
	// again does no harm.
	Apply(ctx context.Context, changes []tables.Change) error
	// Attach has packets of an interface judged as its slot says. The addresses are its pod's; of one that is running no packet may be
	// lost, otherwise it must be fast. It is idempotent.
	Attach(ifindex int, slot uint32, running bool, addrs ...netip.Addr) error
	// Settle does what Attach has put off because it is slow. An interface that is not attached is success.
	Settle(ifindex int) error
	// AttachExit has what leaves by a link judged that pods sent to addresses of Services. It is idempotent.
	AttachExit(ifindex int) error
	// Detach ends either. An interface that is gone is success.
	Detach(ifindex int) error
	// Attached are the interfaces of pods, with their slots, and the other links.
	Attached() (pods map[int]uint32, exits []int, err error)
}

// Pods asks the API server for one pod: what is followed may lag behind the kubelet that starts it.
type Pods interface {
	PodOf(ctx context.Context, namespace, name string) (Pod, error)
}

// Pod is a pod as policies see it.
type Pod struct {
	policy.Pod
	UID string
	// Ended tells that its containers have ended for good: its addresses may be another's.
	Ended bool
}

// Attachment is an interface of a pod of this node.
type Attachment struct {
	ID              string // of the attachment: container and interface
	Namespace, Name string
	UID             string // empty when the runtime does not say
	Addrs           []netip.Addr
	Ifindex         int // of the host's end
}

func (a Attachment) name() name { return name{a.Namespace, a.Name} }

// name is a pod's.
type name struct{ namespace, name string }

func (n name) String() string { return n.namespace + "/" + n.name }

// Config is what the operator set.
type Config struct {
	// Strict denies what no policy decides.
	Strict bool
	// FirstID is above all ids that the datapath has.
	FirstID uint32
	// Slots are how many pods there may be.
	Slots int
	// Room is what the datapath holds.
	Room compile.Size
	// Names are what Learn has returned in a former process.
	Names []names.Record
}

// Ports are the adapters that the loop works with.
type Ports struct {
	Datapath Datapath
	Pods     Pods
	Log      *slog.Logger
}

// Times.
const (
	// askTimeout bounds a question about one pod.
	askTimeout = 2 * time.Second
	// retryAfter is the pause before what the datapath refused is tried again; it doubles up to retryMost.
	retryAfter = 200 * time.Millisecond
	retryMost  = 5 * time.Second
	// settleAfter is how long no pod came before interfaces are settled, one after the other: others wait for the kernel meanwhile.
	settleAfter = 10 * time.Second
)

// Enforcer is the loop. Run owns its state; every other method asks it.
type Enforcer struct {
	cfg   Config
	ports Ports
	log   *slog.Logger
	calls chan func()
	done  chan struct{}
	nodes chan struct{} // closed once nodes matter

	// What follows belongs to the loop's goroutine.
	ctx      context.Context //nolint:containedctx // the loop's own, for the questions that it asks
	compiler *compile.Compiler
	known    knowledge
	services services
	domains  domains
	exits    map[int]bool // links of the host; true: attached
	settle   settling
	locals   map[string]*local // by ID
	ofPod    map[compile.Key][]*local
	slots    []string        // the ID that has each; empty: free
	left     []tables.Change // not applied yet
	refused  error           // why
	toobig   compile.Size    // what was to be said when it was refused first
	pause    time.Duration   // before it is tried again
	again    time.Time       // when that is over
}

// New returns an enforcer that Run starts.
func New(cfg Config, ports Ports) *Enforcer {
	return &Enforcer{
		cfg: cfg, ports: ports, log: ports.Log, calls: make(chan func(), 256), done: make(chan struct{}), nodes: make(chan struct{}),
		compiler: compile.New(compile.Options{Strict: cfg.Strict, FirstID: cfg.FirstID, Room: cfg.Room}),
		known:    newKnowledge(), services: newServices(), domains: newDomains(cfg.Names), exits: map[int]bool{}, locals: map[string]*local{}, ofPod: map[compile.Key][]*local{}, slots: make([]string, cfg.Slots),
	}
}

// Run enforces until ctx ends. What the datapath has stays in force.
func (e *Enforcer) Run(ctx context.Context) error {
	defer close(e.done)
	e.ctx = ctx
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		brought := e.bring() //nolint:contextcheck // questions end with the loop: e.ctx is ctx
		e.answerLearned()
		if !brought {
			if e.fitsAgain() {
				e.failWaiting()
				return fmt.Errorf("%w: %w", errStartOver, e.refused)
			}
			retry.Reset(max(retryAfter, time.Until(e.again)))
		}
		select {
		case <-ctx.Done():
			e.failWaiting()
			return nil
		case <-retry.C:
		case <-e.settle.due():
			e.settleNext()
		case f := <-e.calls:
			f()
		}
		e.drain()
	}
}

// drain does what else is there: what comes together is compiled together.
func (e *Enforcer) drain() {
	for range cap(e.calls) {
		select {
		case f := <-e.calls:
			f()
		default:
			return
		}
	}
}

// bring has the datapath say what is known, and answers those who waited for it. It tells whether that is done.
func (e *Enforcer) bring() bool {
	if !e.known.whole() {
		return true // nothing is told by halves
	}
	e.admit()
	e.bringNames()
	e.left = append(e.left, e.services.flush()...)
	e.left = append(e.left, e.compiler.Flush()...)
	if len(e.left) > 0 {
		if e.refused != nil && time.Now().Before(e.again) {
			return false // there may be many changes, and whoever tells of something brings us here
		}
		if err := e.ports.Datapath.Apply(e.ctx, e.left); err != nil {
			if e.refused == nil {
				e.log.Error("program policies", run.KeyErr, err, "changes", len(e.left))
				e.toobig = e.compiler.Size()
			}
			e.refused, e.pause = err, min(max(2*e.pause, retryAfter), retryMost)
			e.again = time.Now().Add(e.pause)
			return false
		}
		if e.refused != nil {
			e.log.Info("policies are programmed after all", "changes", len(e.left))
		}
		e.left, e.refused, e.pause = nil, nil, 0
	}
	return e.attachExits() && e.attach()
}

// errStartOver ends the loop, and the agent with it.
var errStartOver = errors.New("policies fit into the datapath again: the next start fills its maps anew, what is in force stays until then")

// fitsAgain tells whether what was too much for the datapath has become less, and has room. The changes that it refused come first and
// will never fit, what takes them back comes after them, and neither can be left out without a packet seeing half of a policy. The maps of
// each start are its own.
func (e *Enforcer) fitsAgain() bool {
	full, ok := errors.AsType[interface {
		error
		Full() bool
	}](e.refused)
	if !ok || !full.Full() {
		return false
	}
	now, room := e.compiler.Size(), e.cfg.Room
	return now != e.toobig && now.Rows <= room.Rows && now.Peers <= room.Peers && now.Prefixes <= room.Prefixes && now.Ranges <= room.Ranges
}

// ask runs f in the loop's goroutine.
func (e *Enforcer) ask(ctx context.Context, f func()) error {
	select {
	case e.calls <- f:
		return nil
	case <-e.done:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("ask the enforcer's loop: %w", ctx.Err())
	}
}

// tell runs f in the loop's goroutine, unless that has ended.
func (e *Enforcer) tell(f func()) {
	select {
	case e.calls <- f:
	case <-e.done:
	}
}
