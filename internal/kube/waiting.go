package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// How many pods of the cluster wait for a node is asked, not watched: a watch of them would send each new pod to each agent, 50
// million events when 10,000 pods are made on 5,000 nodes. It is a hint for the time between a pod's creation and its binding;
// once bound to this node, a pod is known exactly.
//
// A question costs the API server a look-up in its cache by the index of spec.nodeName, and an answer of 4 KB of columns and 150 bytes
// for each pod, maxWaiting at most. On 5,000 nodes, with pauses half to one and a half as long as these:
//
//	no pod waits        every 5 minutes    17 requests/s,   4 KB each:   70 KB/s
//	10 pods wait        every 32 s        156 requests/s,   6 KB each:  0.9 MB/s
//	499 pods wait       every 130 s        38 requests/s,  80 KB each:    3 MB/s
//	500 or more         every 10 minutes    8 requests/s,  80 KB each:  0.7 MB/s
//
// An API server of that size serves thousands of requests a second. Servers before 1.35 may serve a limited list from etcd and read
// all pods for it (https://github.com/kubernetes/kubernetes/issues/132132), so they are not asked at all.
const (
	maxWaiting    = 500
	waitingIdle   = 5 * time.Minute
	waitingFirst  = 30 * time.Second
	waitingPerPod = 200 * time.Millisecond
	waitingMany   = 10 * time.Minute
	// oldServer is how long an API server that is too old is not asked for its version again.
	oldServer = time.Hour
	// nodesEvery is how long the number of nodes counts; it is asked for only while pods wait.
	nodesEvery = 10 * time.Minute
	leastMinor = 35
)

// countWaiting counts the pods that wait for a node, and the nodes, again and again. It returns an error when it cannot.
func (c *Client) countWaiting(ctx context.Context, a *apiserver.API) error {
	known, err := recent(ctx, a)
	if err != nil {
		return err
	}
	if !known {
		c.setWaiting(0, 0)
		pause(ctx, jitter(oldServer), nil)
		return nil
	}
	var nodes int
	var counted time.Time
	for ctx.Err() == nil {
		if !c.takesPods() {
			c.setWaiting(0, 0)
			pause(ctx, pauseGreatest, c.recount)
			continue
		}
		waiting, many, err := waitingPods(ctx, a)
		if err != nil {
			return err
		}
		if waiting > 0 && time.Since(counted) > nodesEvery {
			if nodes, err = allNodes(ctx, a); err != nil {
				return err
			}
			counted = time.Now()
		}
		c.setWaiting(waiting, nodes)
		pause(ctx, jitter(waitingPause(waiting, many)), nil)
	}
	return nil
}

// waitingPause is the pause after a count.
func waitingPause(waiting int, many bool) time.Duration {
	switch {
	case many:
		return waitingMany
	case waiting == 0:
		return waitingIdle
	}
	return waitingFirst + time.Duration(waiting)*waitingPerPod
}

func jitter(d time.Duration) time.Duration { return time.Duration(float64(d) * (0.5 + rand.Float64())) }

// takesPods tells whether the Node is known and the scheduler may put pods on it.
func (c *Client) takesPods() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.node != nil && c.told.node.schedulable()
}

func (c *Client) setWaiting(waiting, nodes int) {
	if waiting == 0 {
		nodes = 0
	}
	c.learn(func(k *known) { k.unscheduled, k.nodes, c.trouble[whatWaiting] = waiting, nodes, "" })
}

// recent tells whether the server limits lists that it serves from its cache.
func recent(ctx context.Context, a *apiserver.API) (bool, error) {
	var v struct{ Major, Minor string }
	if err := a.Do(ctx, apiserver.Get("/version"), &v); err != nil {
		return false, fmt.Errorf("read the server's version: %w", err)
	}
	digits := len(v.Minor) - len(strings.TrimLeft(v.Minor, "0123456789")) // "35+" of servers with patches of their own
	minor, err := strconv.Atoi(v.Minor[:digits])
	return err == nil && v.Major == "1" && minor >= leastMinor, nil
}

// waitingPods counts the pods that no node has yet and that will ask for an address; many tells that there are more.
func waitingPods(ctx context.Context, a *apiserver.API) (waiting int, many bool, err error) {
	meta, err := apiserver.List(ctx, a, apiserver.Request{Method: http.MethodGet, Path: "/api/v1/pods", Accept: apiserver.Table, Query: url.Values{
		"fieldSelector": {"spec.nodeName=,status.phase=Pending,spec.hostNetwork=false"},
		"limit":         {strconv.Itoa(maxWaiting)},
		"includeObject": {"None"},
		// Whatever the cache has. Version 0 would lift the limit, none at all would ask etcd for the latest.
		"resourceVersion": {"1"}, "resourceVersionMatch": {"NotOlderThan"},
	}}, "rows", func(struct{}) { waiting++ })
	if err != nil {
		return 0, false, fmt.Errorf("count waiting pods: %w", err)
	}
	return waiting, meta.Continue != "", nil
}

// allNodes counts the nodes: the server says how many are left after the first.
func allNodes(ctx context.Context, a *apiserver.API) (nodes int, err error) {
	meta, err := apiserver.List(ctx, a, apiserver.Request{Method: http.MethodGet, Path: "/api/v1/nodes", Accept: apiserver.Table, Query: url.Values{
		"limit": {"1"}, "includeObject": {"None"}, "resourceVersion": {"1"}, "resourceVersionMatch": {"NotOlderThan"},
	}}, "rows", func(struct{}) { nodes++ })
	if err != nil {
		return 0, fmt.Errorf("count nodes: %w", err)
	}
	return nodes + meta.RemainingItemCount, nil
}
