package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// Condition is a condition of the Node's status.
type Condition struct {
	Type    string
	Status  bool
	Reason  string
	Message string
}

// nodeCondition is a condition as the Node object has it.
type nodeCondition struct {
	Type               string       `json:"type"`
	Status             string       `json:"status"`
	Reason             string       `json:"reason"`
	Message            string       `json:"message"`
	LastHeartbeatTime  metav1.Time  `json:"lastHeartbeatTime"`
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"` // left out: it stays
}

// same tells whether two say the same of the state, or the same in the same words.
func (x nodeCondition) same(y nodeCondition, words bool) bool {
	return x.Type == y.Type && x.Status == y.Status && x.Reason == y.Reason && (!words || x.Message == y.Message)
}

// How often a condition is written: every write of a Node goes to all who watch nodes, which on 5,000 nodes is every one of
// kube-proxy. When a VPC's subnets fill up all nodes say so at once, and their counts change with every pod.
const (
	conditionEvery = 10 * time.Second // when the state changes
	wordsEvery     = time.Minute      // when only the message does
	refusedEvery   = 10 * time.Minute // after the server refused it for good
)

// wantedCondition is a condition that was asked for.
type wantedCondition struct {
	Condition
	sent    time.Time // zero: never
	refused bool      // by the server, then
}

// Condition sets a condition of the Node. It never blocks; of several of one type the last counts.
func (c *Client) Condition(x Condition) {
	x.Message = shorten(x.Message)
	c.mu.Lock()
	w := c.wanted[x.Type]
	if w == nil {
		w = &wantedCondition{}
		c.wanted[x.Type] = w
	}
	changed := w.Condition != x
	w.Condition = x
	c.mu.Unlock()
	if changed {
		c.conditions.Wake()
	}
}

// sendConditions writes the conditions that differ from what the Node has and are due.
func (c *Client) sendConditions(ctx context.Context) error {
	var errs []error
	for _, x := range c.dueConditions(time.Now()) {
		errs = append(errs, c.sendCondition(ctx, x))
	}
	return errors.Join(errs...)
}

// dueConditions are those to write now; none while the Node is not known.
func (c *Client) dueConditions(now time.Time) (due []nodeCondition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told.node == nil {
		return nil
	}
	for _, kind := range slices.Sorted(maps.Keys(c.wanted)) {
		w := c.wanted[kind]
		x := nodeCondition{Type: kind, Status: string(metav1.ConditionFalse), Reason: w.Reason, Message: w.Message, LastHeartbeatTime: metav1.NewTime(now)}
		if w.Status {
			x.Status = string(metav1.ConditionTrue)
		}
		var has nodeCondition
		if i := slices.IndexFunc(c.told.node.Status.Conditions, func(h nodeCondition) bool { return h.Type == kind }); i >= 0 {
			has = c.told.node.Status.Conditions[i]
		}
		every := conditionEvery
		switch {
		case x.same(has, true):
			continue
		case w.refused:
			every = refusedEvery
		case x.same(has, false):
			every = wordsEvery
		}
		if now.Sub(w.sent) < every {
			continue // the loop comes back
		}
		if x.Status != has.Status {
			x.LastTransitionTime = new(metav1.NewTime(now))
		}
		due = append(due, x)
	}
	return due
}

// sendCondition writes one condition; a strategic merge leaves those of others alone.
func (c *Client) sendCondition(ctx context.Context, x nodeCondition) error {
	a, err := c.server()
	if err != nil {
		return err
	}
	err = a.Do(ctx, apiserver.Request{
		Method: http.MethodPatch, Path: "/api/v1/nodes/" + url.PathEscape(c.cfg.Node) + "/status", ContentType: apiserver.StrategicPatch,
		Body: map[string]any{"status": map[string]any{"conditions": []nodeCondition{x}}},
	}, nil)
	refused := apiserver.IsStatus(err, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest)
	if err != nil && !refused {
		return fmt.Errorf("set condition %s: %w", x.Type, err)
	}
	c.mu.Lock()
	w := c.wanted[x.Type]
	w.sent, w.refused = x.LastHeartbeatTime.Time, refused
	c.mu.Unlock()
	if refused {
		c.log.Warn("a condition of the node was refused", run.KeyNode, c.cfg.Node, "type", x.Type, run.KeyWhy, x.Reason, run.KeyErr, err)
		return nil
	}
	c.log.Info("condition of the node", run.KeyNode, c.cfg.Node, "type", x.Type, "status", x.Status, run.KeyWhy, x.Reason)
	return nil
}
