package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/lab/internal/cluster"
	"github.com/berth-net/berth/lab/internal/machine"
)

// nodes are the cluster's instances that have not been terminated.
func (w *World) nodes() []cluster.Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.present(w.built.Nodes)
}

// present are those of the instances that the VPC has now: any of them may be terminated through EC2, and a snapshot may
// be older than an instance.
func (w *World) present(all []cluster.Instance) []cluster.Instance {
	t := w.sim.Topology()
	return slices.DeleteFunc(slices.Clone(all), func(i cluster.Instance) bool { return !has(t, i.ID) })
}

func has(t vpcsim.Topology, id vpc.InstanceID) bool {
	return slices.ContainsFunc(t.Instances, func(i vpcsim.TopologyInstance) bool { return i.ID == id })
}

// reap ends the nodes whose instances were terminated, and takes them out of the cluster, as the cloud's controller does.
func (w *World) reap(ctx context.Context) error {
	t := w.sim.Topology()
	w.mu.Lock()
	gone := map[string]*machine.Machine{}
	for id, m := range w.machines {
		if !has(t, id) {
			gone[m.Name()] = m
			delete(w.machines, id)
		}
	}
	w.mu.Unlock()
	var errs []error
	for name, m := range gone {
		w.log.Info("node ended", "node", name, "why", "its instance was terminated")
		errs = append(errs, m.Stop(true))
		plane, _ := w.cluster()
		out, err := exec.CommandContext(ctx, w.paths.Cache().Bin("kubectl"), "--kubeconfig", plane.Kubeconfig(), "delete", "node", name,
			"--ignore-not-found", "--wait=false").CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("delete node %s: %w: %s", name, err, out))
		}
	}
	return errors.Join(errs...)
}

// reboot ends a node as a loss of power would: processes, the network namespace with its links, routes and rules, and all
// that is in memory. Then it starts it on its disk.
func (w *World) reboot(_ http.ResponseWriter, r *http.Request) (any, error) {
	id := vpc.InstanceID(r.PathValue("id"))
	nodes := w.nodes()
	at := slices.IndexFunc(nodes, func(i cluster.Instance) bool { return i.ID == id })
	w.mu.Lock()
	m := w.machines[id]
	delete(w.machines, id)
	w.mu.Unlock()
	if at < 0 || m == nil {
		return nil, fmt.Errorf("instance %s is not a node that runs", id)
	}
	if err := m.Stop(false); err != nil {
		return nil, err
	}
	off := w.sim.Topology()
	off.Instances = slices.DeleteFunc(slices.Clone(off.Instances), func(i vpcsim.TopologyInstance) bool { return i.ID == id })
	off.Interfaces = slices.Clone(off.Interfaces)
	for i := range off.Interfaces {
		if off.Interfaces[i].Instance == id {
			off.Interfaces[i].Instance = ""
		}
	}
	for _, t := range []vpcsim.Topology{off, w.sim.Topology()} {
		if err := w.fabric.Apply(r.Context(), t); err != nil {
			return nil, fmt.Errorf("give %s a new network: %w", id, err)
		}
	}
	return struct{}{}, w.startNode(r.Context(), nodes[at], nil) // its disk has the images
}

// loadSnapshot puts the VPC back to a state in which this lab's own instances are: another lab's would take the network
// away under its nodes.
func (w *World) loadSnapshot(_ http.ResponseWriter, r *http.Request) (any, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	probe := vpcsim.New(vpcsim.Options{Region: w.plan.Region, Account: Account})
	if err := probe.Restore(data); err != nil {
		return nil, err
	}
	held := probe.Topology()
	for _, i := range slices.Concat(w.built.ControlPlane, w.nodes()) {
		if !has(held, i.ID) {
			return nil, fmt.Errorf("the snapshot is of another lab: this one's instance %s (%s) is not in it", i.ID, i.Name)
		}
	}
	w.mu.Lock()
	applied := w.applied
	w.mu.Unlock()
	if err := w.sim.Restore(data); err != nil {
		return nil, err
	}
	select {
	case <-applied:
	case <-r.Context().Done():
	}
	return struct{}{}, nil
}
