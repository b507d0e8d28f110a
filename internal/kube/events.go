package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

const (
	component = "aws-node"
	// maxPending bounds the events that wait for the API server; those beyond are dropped and counted.
	maxPending = 256
	// maxSent bounds what is remembered for merging, mergeFor its age.
	maxSent  = 512
	mergeFor = time.Hour
	// maxMessage is the API's limit, in bytes.
	maxMessage = 1024
	// maxName leaves room for what makes an event's name its own: 253 bytes are the API's limit.
	maxName = 220
	// nodeNamespace is where events of objects without a namespace are kept.
	nodeNamespace = "default"
)

// eventKey tells events apart; those of the Node have no pod.
type eventKey struct {
	namespace, pod, uid, reason, action string
}

// Event is a Kubernetes event on a pod; on the Node when Node is set, and else on the agent's own pod when Pod is empty.
// Repeats of the same pod, reason and action are merged.
type Event struct {
	Namespace, Pod, UID string
	Node                bool
	Warning             bool
	Reason              string
	Message             string
	Action              string
}

type pendingEvent struct {
	Event
	// about is a policy. Each node sees what is wrong with it and none knows of the others: the event's name is made of what it says,
	// and the first node makes it for all.
	about *corev1.ObjectReference
	count int
	at    time.Time
}

type sentEvent struct {
	name  string
	count int
	at    time.Time
}

// Event records an event. It never blocks.
func (c *Client) Event(e Event) {
	if e.Node {
		e.Namespace, e.Pod, e.UID = nodeNamespace, "", ""
	} else if e.Pod == "" {
		e.Namespace, e.Pod = c.cfg.PodNamespace, c.cfg.Pod
	}
	if e.Pod == "" && !e.Node { // nobody told who we are
		return
	}
	key := eventKey{e.Namespace, e.Pod, e.UID, e.Reason, e.Action}
	c.record(key, pendingEvent{Event: e, count: 1, at: time.Now()})
}

// PolicyEvent records a warning on a policy, once for all nodes that say the same of it. It never blocks.
func (c *Client) PolicyEvent(o PolicyObject, reason, message string) {
	about := &corev1.ObjectReference{
		APIVersion: o.Kind.Group + "/" + o.Kind.Version, Kind: o.Kind.Kind, Namespace: o.Namespace, Name: o.Name, UID: types.UID(o.UID),
	}
	e := Event{Namespace: cmp.Or(o.Namespace, nodeNamespace), UID: o.UID, Warning: true, Reason: reason, Message: message, Action: "NetworkPolicy"}
	key := eventKey{e.Namespace, o.Kind.Name() + " " + o.Name, e.UID, reason, message}
	c.record(key, pendingEvent{Event: e, about: about, count: 1, at: time.Now()})
}

func (c *Client) record(key eventKey, e pendingEvent) {
	c.mu.Lock()
	p := c.pending[key]
	switch {
	case p != nil:
		p.Event, p.count, p.at = e.Event, p.count+1, e.at
	case len(c.pending) >= maxPending:
		c.dropped++
	default:
		c.pending[key] = &e
	}
	c.mu.Unlock()
	c.events.Wake()
}

// sendEvents sends what waits. What the server refuses for good is dropped; for another failure all that is left waits.
func (c *Client) sendEvents(ctx context.Context) error {
	c.mu.Lock()
	pending := c.pending
	dropped := c.dropped
	c.pending, c.dropped = map[eventKey]*pendingEvent{}, 0
	c.mu.Unlock()
	if dropped > 0 {
		c.log.Warn("events were dropped", "count", dropped, run.KeyWhy, "too many wait for the API server")
	}
	if len(pending) == 0 {
		return nil
	}
	err := c.sendAll(ctx, pending)
	if err != nil {
		c.putBack(pending)
	}
	return err
}

func (c *Client) sendAll(ctx context.Context, pending map[eventKey]*pendingEvent) error {
	a, err := c.server()
	if err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Keys(pending), func(x, y eventKey) int { return pending[x].at.Compare(pending[y].at) })
	for _, key := range keys {
		err := c.sendEvent(ctx, a, key, *pending[key])
		if err != nil && !apiserver.IsStatus(err, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusBadRequest) {
			return err
		}
		if err != nil {
			c.log.Warn("an event was refused", run.KeyNamespace, key.namespace, run.KeyPod, key.pod, run.KeyWhy, key.reason, run.KeyErr, err)
		}
		delete(pending, key)
	}
	return nil
}

func (c *Client) putBack(left map[eventKey]*pendingEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, old := range left {
		if p := c.pending[key]; p != nil {
			p.count += old.count
		} else {
			c.pending[key] = old
		}
	}
}

// sendEvent adds to an event of the same pod and reason that was sent within mergeFor, or makes a new one.
func (c *Client) sendEvent(ctx context.Context, a *apiserver.API, key eventKey, p pendingEvent) error {
	path := "/api/v1/namespaces/" + url.PathEscape(key.namespace) + "/events"
	if s, ok := c.remembered(key, p.at); ok {
		s.count += p.count
		err := a.Do(ctx, apiserver.Request{
			Method: http.MethodPatch, Path: path + "/" + s.name, ContentType: apiserver.MergePatch,
			Body: map[string]any{"count": s.count, "lastTimestamp": metav1.NewTime(p.at), "message": shorten(p.Message)},
		}, nil)
		if err == nil {
			c.remember(key, sentEvent{s.name, s.count, p.at})
		}
		if !apiserver.IsStatus(err, http.StatusNotFound) { // else it has expired
			return err
		}
	}
	if p.UID == "" && !p.Node && p.about == nil {
		uid, err := podUID(ctx, a, key.namespace, key.pod)
		if err != nil && !apiserver.IsStatus(err, http.StatusNotFound, http.StatusForbidden) {
			return err
		}
		p.UID = uid
	}
	e := c.object(p)
	err := a.Do(ctx, apiserver.Request{Method: http.MethodPost, Path: path, ContentType: apiserver.JSON, Body: e}, nil)
	if err != nil && (p.about == nil || !apiserver.IsStatus(err, http.StatusConflict)) { // else another node has said it
		return err
	}
	c.remember(key, sentEvent{e.Name, p.count, p.at})
	return nil
}

// podUID reads a pod's UID: kubectl describe shows only events that name it.
func podUID(ctx context.Context, a *apiserver.API, namespace, name string) (string, error) {
	var pod struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	if err := a.Do(ctx, apiserver.Get("/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(name)), &pod); err != nil {
		return "", fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
	}
	if pod.Metadata.UID == "" {
		return "", errors.New("the pod has no UID")
	}
	return pod.Metadata.UID, nil
}

func (c *Client) object(p pendingEvent) corev1.Event {
	kind := corev1.EventTypeNormal
	if p.Warning {
		kind = corev1.EventTypeWarning
	}
	at := metav1.NewTime(p.at)
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Pod, UID: types.UID(p.UID)}
	if p.Node { // kubectl describe shows those that have the UID, and those that have the name in its place, as the kubelet's do
		about = corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: c.cfg.Node, UID: types.UID(cmp.Or(c.nodeUID(), c.cfg.Node))}
	}
	suffix := strconv.FormatInt(p.at.UnixNano(), 16)
	if p.about != nil {
		about = *p.about
		suffix = fmt.Sprintf("%.8x", sha256.Sum256([]byte(about.Kind+about.APIVersion+p.UID+p.Reason+p.Message)))
	}
	return corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Name: about.Name[:min(len(about.Name), maxName)] + "." + suffix, Namespace: p.Namespace},
		InvolvedObject: about,
		Reason:         p.Reason, Message: shorten(p.Message), Type: kind, Action: p.Action, Count: int32(p.count), //nolint:gosec // counts what waited
		FirstTimestamp: at, LastTimestamp: at,
		Source:              corev1.EventSource{Component: component, Host: c.cfg.Node},
		ReportingController: component, ReportingInstance: cmp.Or(c.cfg.Pod, c.cfg.Node),
	}
}

func shorten(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	const mark = "…"
	cut := maxMessage - len(mark)
	for cut > 0 && text[cut]&0xC0 == 0x80 { // not within a character
		cut--
	}
	return text[:cut] + mark
}

func (c *Client) remembered(key eventKey, now time.Time) (sentEvent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sent[key]
	return s, ok && now.Sub(s.at) < mergeFor
}

func (c *Client) remember(key eventKey, s sentEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) >= maxSent {
		maps.DeleteFunc(c.sent, func(_ eventKey, old sentEvent) bool { return s.at.Sub(old.at) >= mergeFor })
		if len(c.sent) >= maxSent {
			clear(c.sent)
		}
	}
	c.sent[key] = s
}
