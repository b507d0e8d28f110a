package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

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
	Log          *slog.Logger
}

// Facts is what the Node object says that matters for addressing.
type Facts struct {
	MaxPods     int
	Schedulable bool
}

// Event is a Kubernetes event on a pod; on the agent's own pod when Pod is empty. Repeats of the same pod, reason
// and action are merged.
type Event struct {
	Namespace, Pod, UID string
	Warning             bool
	Reason              string
	Message             string
	Action              string
}

// Client is the Kubernetes API.
type Client struct {
	cfg     Config
	log     *slog.Logger
	changes chan struct{}
	events  *run.Loop

	mu      sync.Mutex
	api     *api
	facts   Facts
	known   bool
	trouble string
	pending map[eventKey]*pendingEvent
	sent    map[eventKey]sentEvent
	dropped int
}

// Intervals of the two loops.
const (
	retryFirst    = time.Second
	retryGreatest = 30 * time.Second
	eventsLeast   = 200 * time.Millisecond
)

// New returns a client. It does nothing before Run.
func New(cfg Config) *Client {
	c := &Client{
		cfg: cfg, log: cfg.Log, changes: make(chan struct{}, 1),
		pending: map[eventKey]*pendingEvent{}, sent: map[eventKey]sentEvent{},
		trouble: "the API server was not asked yet",
	}
	c.events = run.NewLoop(eventsLeast, retryFirst, 0, c.sendEvents)
	c.events.Failed = func(err error, again time.Duration) {
		c.log.Debug("events wait", run.KeyErr, err, "again", again.String())
	}
	return c
}

// Run watches the node and sends events until ctx ends. It returns nil: an API server that is away is no reason to end.
func (c *Client) Run(ctx context.Context) error {
	watch := run.NewLoop(0, retryFirst, retryGreatest, c.watchNode)
	watch.Failed = func(err error, again time.Duration) {
		c.setTrouble(err.Error())
		c.log.Warn("the API server does not serve the node object", run.KeyNode, c.cfg.Node, run.KeyErr, err, "again", again.String())
	}
	g, _ := run.NewGroup(ctx)
	g.Go("node watch", watch.Run)
	g.Go("events", c.events.Run)
	return g.Wait(time.Second)
}

// Node returns what the Node object says; ok is false while it is not known.
func (c *Client) Node() (Facts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts, c.known
}

// Changes signals, coalesced, that what Node returns has changed.
func (c *Client) Changes() <-chan struct{} { return c.changes }

// Trouble says why the API server is not reached; it is empty while it is.
func (c *Client) Trouble() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

func (c *Client) setTrouble(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = text
}

func (c *Client) setFacts(f Facts) {
	c.mu.Lock()
	changed := !c.known || f != c.facts
	c.facts, c.known, c.trouble = f, true, ""
	c.mu.Unlock()
	if !changed {
		return
	}
	c.log.Info("node object", run.KeyNode, c.cfg.Node, "maxPods", f.MaxPods, "schedulable", f.Schedulable)
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// server returns the connection, made at the first call that succeeds: a kubeconfig may be written late.
func (c *Client) server() (*api, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		return c.api, nil
	}
	a, err := connect(c.cfg.Kubeconfig, c.cfg.Endpoint, c.cfg.UserAgent)
	if err != nil {
		return nil, err
	}
	c.api = a
	return a, nil
}
