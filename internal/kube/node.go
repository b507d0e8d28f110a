package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// watchTime is how long one watch lasts at least; half as much again by chance, so that nodes do not come back together.
const watchTime = 5 * time.Minute

const unschedulable = "node.kubernetes.io/unschedulable"

// node is the part of a Node object that is read.
type node struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
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
	} `json:"status"`
}

func (n node) facts() Facts {
	f := Facts{Schedulable: true}
	text := string(n.Status.Capacity.Pods)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	if pods, err := strconv.Atoi(text); err == nil && pods > 0 {
		f.MaxPods = pods
	}
	for _, t := range n.Spec.Taints {
		if t.Key == unschedulable && t.Effect == "NoSchedule" {
			f.Schedulable = false
		}
	}
	return f
}

// watchNode reads the Node object and follows its changes until the watch breaks.
func (c *Client) watchNode(ctx context.Context) error {
	a, err := c.server()
	if err != nil {
		return err
	}
	var n node
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(c.cfg.Node), "", nil, &n); err != nil {
		return fmt.Errorf("read node %s: %w", c.cfg.Node, err)
	}
	c.setFacts(n.facts())
	version := n.Metadata.ResourceVersion
	for ctx.Err() == nil {
		if version, err = c.follow(ctx, a, version); err != nil {
			return fmt.Errorf("watch node %s: %w", c.cfg.Node, err)
		}
	}
	return nil
}

// follow watches from a version on and returns the last one that it saw when the server ends the watch in order.
func (c *Client) follow(ctx context.Context, a *api, version string) (string, error) {
	timeout := watchTime + time.Duration(rand.Int64N(int64(watchTime/2)))
	ctx, cancel := context.WithTimeout(ctx, timeout+requestTimeout) // the server ends it before
	defer cancel()
	resp, err := a.send(ctx, http.MethodGet, "/api/v1/nodes", url.Values{
		"watch":               {"true"},
		"fieldSelector":       {"metadata.name=" + c.cfg.Node},
		"resourceVersion":     {version},
		"timeoutSeconds":      {strconv.Itoa(int(timeout.Seconds()))},
		"allowWatchBookmarks": {"true"},
	}, "", nil)
	if err != nil {
		return version, err
	}
	defer func() { _ = resp.Body.Close() }()
	began := time.Now()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxBody)
	for lines.Scan() {
		if version, err = c.watched(lines.Bytes(), version); err != nil {
			return version, err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return version, err
	}
	if time.Since(began) < time.Second && ctx.Err() == nil {
		return version, errors.New("the watch ended at once") // a server that does this must not be asked in a loop
	}
	return version, nil
}

// watched takes one line of a watch.
func (c *Client) watched(line []byte, version string) (string, error) {
	var w struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return version, fmt.Errorf("decode watch event: %w", err)
	}
	if w.Type == "ERROR" {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(w.Object, &status)
		return version, fmt.Errorf("the server ended it: %s", status.Message)
	}
	var n node
	if err := json.Unmarshal(w.Object, &n); err != nil {
		return version, fmt.Errorf("decode node: %w", err)
	}
	switch w.Type {
	case "ADDED", "MODIFIED":
		c.setFacts(n.facts())
	case "DELETED", "BOOKMARK": // a node that is being deleted keeps what was known of it
	default:
		return version, fmt.Errorf("watch event of unknown type %q", w.Type)
	}
	if v := n.Metadata.ResourceVersion; v != "" {
		version = v
	}
	return version, nil
}
