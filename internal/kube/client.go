package kube

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// Config is how to reach the API server and who we are.
type Config struct {
	// Kubeconfig is a path (KUBECONFIG); without one the pod's service account is used.
	Kubeconfig string
	// Endpoint replaces the server's URL when it is set (CLUSTER_ENDPOINT).
	Endpoint  string
	UserAgent string
	// Node is the Node object's name; Pod and PodNamespace are the agent's own pod.
	Node         string
	Pod          string
	PodNamespace string
	// CustomNetworking asks for the ENIConfig that the Node names by Keys.
	CustomNetworking bool
	Keys             profile.Keys
	// Divide, unless it is nil, is told what the controller says of EC2's buckets, and whether pods of the node wait for
	// an address: when either changes, and now and then. With an error it is told again soon.
	Divide func(d budget.Division, hungry bool, until time.Time) error
	Log    *slog.Logger
}

// Client is the Kubernetes API.
type Client struct {
	cfg        Config
	log        *slog.Logger
	changes    chan struct{}
	events     *run.Loop
	conditions *run.Loop
	shares     *run.Loop
	retarget   chan struct{} // ends the pause before the next watch of an ENIConfig
	recount    chan struct{} // wakes the count of waiting pods

	divided bool                                               // EC2's buckets are, as the log said last; the loop's of shares
	seen    struct{ settings, pods, eniconfigs, share string } // versions; each is its watch's own

	mu      sync.Mutex
	api     *apiserver.API
	facts   Facts
	known   bool
	told    known
	share   shareWord
	trouble map[string]string // by what is asked for; empty once it was served
	tries   map[string]int    // that failed, by the same
	pending map[eventKey]*pendingEvent
	sent    map[eventKey]sentEvent
	dropped int
	wanted  map[string]*wantedCondition
	aimed   struct { // the ENIConfig that is followed
		name string
		cut  func()
	}
}

// Intervals of the loops that write.
const (
	retryFirst     = time.Second
	retryGreatest  = 30 * time.Second
	eventsLeast    = 200 * time.Millisecond
	conditionsTick = 10 * time.Second
)

// New returns a client. It does nothing before Run.
func New(cfg Config) *Client {
	c := &Client{
		cfg: cfg, log: cfg.Log, changes: make(chan struct{}, 1), retarget: make(chan struct{}, 1), recount: make(chan struct{}, 1),
		pending: map[eventKey]*pendingEvent{}, sent: map[eventKey]sentEvent{}, wanted: map[string]*wantedCondition{},
		trouble: map[string]string{whatNode: "the API server was not asked yet"}, tries: map[string]int{},
		told: known{settings: map[string]settings{}, bound: map[string]Bound{}},
	}
	c.events = run.NewLoop(eventsLeast, retryFirst, 0, c.sendEvents)
	c.events.Failed = func(err error, again time.Duration) {
		c.log.Debug("events wait", run.KeyErr, err, "again", again.String())
	}
	c.shares = run.NewLoop(0, retryFirst, shareTick, c.tellShare)
	c.conditions = run.NewLoop(eventsLeast, retryFirst, conditionsTick, c.sendConditions)
	c.conditions.Failed = func(err error, again time.Duration) {
		c.log.Debug("conditions of the node wait", run.KeyErr, err, "again", again.String())
	}
	return c
}

// What is asked for, in logs and in Trouble.
const (
	whatNode      = "the node object"
	whatSettings  = "nodesettings"
	whatPods      = "the node's pods"
	whatENIConfig = "eniconfig"
	whatWaiting   = "the number of waiting pods"
	whatShare     = "the share of EC2's buckets"
)

// missingFor is how long a resource that the cluster does not know is not asked for again: it comes with an installation.
const missingFor = 5 * time.Minute

// patience is how many tries of what belongs to the Node may fail before Node answers without it: about seven seconds.
const patience = 3

// Run follows what matters to the node and sends events and conditions until ctx ends. It returns nil: an API server that
// is away is no reason to end.
func (c *Client) Run(ctx context.Context) error {
	g, _ := run.NewGroup(ctx)
	g.Go("node watch", c.keep(watcher{name: whatNode, step: c.watchNode}))
	g.Go("settings watch", c.keep(watcher{name: whatSettings, step: c.watchSettings, absent: func() { c.setSettings(nil) }, absentFor: missingFor}))
	g.Go("pods watch", c.keep(watcher{name: whatPods, step: c.watchPods}))
	g.Go("waiting pods", c.keep(watcher{name: whatWaiting, step: c.countWaiting}))
	if c.cfg.CustomNetworking {
		g.Go("eniconfig watch", c.keep(watcher{
			name: whatENIConfig, step: c.watchENIConfig, wake: c.retarget, absent: c.noENIConfigs, absentFor: pauseGreatest,
		}))
	}
	if c.cfg.Divide != nil {
		g.Go("share watch", c.keep(watcher{name: whatShare, step: c.watchShare}))
		g.Go("share", c.shares.Run)
	}
	g.Go("events", c.events.Run)
	g.Go("conditions", c.conditions.Run)
	return g.Wait(time.Second)
}

// Node returns what is known; ok is false before the Node object was read, and what belongs to it was
// read or tried in vain for a while.
func (c *Client) Node() (Facts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts, c.known
}

// Changes signals, coalesced, that what Node returns has changed.
func (c *Client) Changes() <-chan struct{} { return c.changes }

// Trouble says why the API server does not serve what is asked; it is empty while it does.
func (c *Client) Trouble() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, what := range slices.Sorted(maps.Keys(c.trouble)) {
		if text := c.trouble[what]; text != "" {
			all = append(all, what+": "+text)
		}
	}
	return strings.Join(all, "; ")
}

// tried notes that something was asked for, with what came of it: why it was not served, or nothing.
func (c *Client) tried(what, trouble string) {
	c.learn(func(*known) {
		c.trouble[what] = trouble
		c.tries[what]++
	})
}

// learn changes what is known, and tells of it when that makes a difference. change is called with the lock held.
func (c *Client) learn(change func(k *known)) {
	c.mu.Lock()
	fed := len(c.told.bound) == 0
	change(&c.told)
	if fed != (len(c.told.bound) == 0) {
		c.shares.Wake()
	}
	facts, before := c.told.facts(c.cfg), c.facts
	// What an agent starts with should be whole, but nobody waits for what is not served.
	ready := c.told.node != nil
	for _, what := range c.awaited() {
		trouble, asked := c.trouble[what]
		ready = ready && asked && (trouble == "" || c.tries[what] >= patience)
	}
	changed := ready && !c.known || c.known && !reflect.DeepEqual(facts, before)
	c.facts, c.known = facts, ready || c.known
	c.mu.Unlock()
	if !changed {
		return
	}
	c.logChange(before, facts)
	signal(c.changes)
}

// awaited are the things without which Node is not known at first.
func (c *Client) awaited() []string {
	if c.cfg.CustomNetworking {
		return []string{whatNode, whatSettings, whatPods, whatENIConfig}
	}
	return []string{whatNode, whatSettings, whatPods}
}

func (c *Client) logChange(before, now Facts) {
	if now.MaxPods != before.MaxPods || now.Schedulable != before.Schedulable {
		c.log.Info("node object", run.KeyNode, c.cfg.Node, "maxPods", now.MaxPods, "schedulable", now.Schedulable)
	}
	if !reflect.DeepEqual(now.ENIConfig, before.ENIConfig) {
		e := now.ENIConfig
		c.log.Info("eniconfig of the node", "name", e.Name, run.KeySubnet, string(e.Subnet), "found", e.Found, "from", e.From, run.KeyWhy, e.Why)
	}
	if !reflect.DeepEqual(now.Overrides, before.Overrides) || !slices.Equal(now.Refused, before.Refused) {
		var names []string
		for _, o := range now.Overrides {
			names = append(names, o.Name)
		}
		c.log.Info("settings of the node", "resources", names, "refused", now.Refused)
	}
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// server returns the connection, made at the first call that succeeds: a kubeconfig may be written late.
func (c *Client) server() (*apiserver.API, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		return c.api, nil
	}
	a, err := apiserver.Connect(c.cfg.Kubeconfig, c.cfg.Endpoint, c.cfg.UserAgent)
	if err != nil {
		return nil, err
	}
	c.api = a
	return a, nil
}
