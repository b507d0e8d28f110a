package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

const unschedulable = "node.kubernetes.io/unschedulable"

// node is the part of a Node object that is read.
type node struct {
	Metadata struct {
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
		Annotations     map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Taints []struct {
			Key    string `json:"key"`
			Effect string `json:"effect"`
		} `json:"taints"`
	} `json:"spec"`
	Status struct {
		Capacity struct {
			Pods json.RawMessage `json:"pods"` // a quantity: text, or a number
		} `json:"capacity"`
		Conditions []nodeCondition `json:"conditions"`
	} `json:"status"`
	Message string `json:"message"`
}

func (n node) Version() string { return n.Metadata.ResourceVersion }
func (n node) Failure() string { return n.Message }

func (n node) maxPods() int {
	text := string(n.Status.Capacity.Pods)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	if pods, err := strconv.Atoi(text); err == nil && pods > 0 {
		return pods
	}
	return 0
}

func (n node) schedulable() bool {
	for _, t := range n.Spec.Taints {
		if t.Key == unschedulable && t.Effect == "NoSchedule" {
			return false
		}
	}
	return true
}

// watchNode reads the Node object and follows its changes until the watch breaks.
func (c *Client) watchNode(ctx context.Context, a *apiserver.API) error {
	var n node
	if err := a.Do(ctx, apiserver.Get("/api/v1/nodes/"+url.PathEscape(c.cfg.Node)), &n); err != nil {
		return fmt.Errorf("read node %s: %w", c.cfg.Node, err)
	}
	c.setNode(&n)
	seen := n.Version()
	f := apiserver.Feed[node]{Path: "/api/v1/nodes", Selector: named(c.cfg.Node), Seen: &seen, Change: func(n node, gone bool) {
		if !gone { // a node that was deleted keeps what was known of it
			c.setNode(&n)
		}
	}}
	return f.Watch(ctx, a)
}

// setNode takes what the Node object says.
func (c *Client) setNode(n *node) {
	var renamed bool
	c.learn(func(k *known) {
		before, _ := k.names(c.cfg)
		k.node, c.trouble[whatNode] = n, ""
		now, _ := k.names(c.cfg)
		renamed = now != before
	})
	if renamed {
		c.retargetENIConfig()
	}
	c.conditions.Wake()
	signal(c.recount)
}

// nodeUID is the Node's UID, or nothing while it is not known.
func (c *Client) nodeUID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told.node == nil {
		return ""
	}
	return c.told.node.Metadata.UID
}

// named selects the object of a name.
func named(name string) string { return "metadata.name=" + fields.EscapeValue(name) }
