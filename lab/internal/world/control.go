package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/lab/internal/cluster"
	"github.com/berth-net/berth/lab/internal/controlplane"
)

// Status is the state of the lab.
type Status struct {
	Ready      bool              `json:"ready"`
	Cluster    string            `json:"cluster"`
	Region     string            `json:"region"`
	Version    string            `json:"version"`
	VPC        vpc.ID            `json:"vpc"`
	Endpoint   string            `json:"endpoint,omitempty"`
	API        string            `json:"api"`
	Kubeconfig string            `json:"kubeconfig"`
	Env        []string          `json:"env"`
	Started    time.Time         `json:"started"`
	Fault      string            `json:"fault,omitempty"`
	Nodes      []InstanceStatus  `json:"nodes"`
	Instances  []InstanceStatus  `json:"instances,omitempty"`
	Interfaces []InterfaceStatus `json:"interfaces"`
}

// InstanceStatus is one instance.
type InstanceStatus struct {
	ID        vpc.InstanceID `json:"id"`
	Name      string         `json:"name"`
	Address   string         `json:"address"`
	Type      string         `json:"type"`
	Zone      vpc.ZoneName   `json:"zone"`
	Namespace string         `json:"namespace"`
	Pids      map[string]int `json:"pids,omitempty"`
	Log       string         `json:"log,omitempty"`
	// Shell is a command that opens a shell in it.
	Shell []string `json:"shell"`
}

// InterfaceStatus is one network interface with what the network dropped at it.
type InterfaceStatus struct {
	ID       vpc.ENIID      `json:"id"`
	Instance vpc.InstanceID `json:"instance,omitempty"`
	Subnet   vpc.SubnetID   `json:"subnet"`
	Address  string         `json:"address"`
	Others   int            `json:"others"`
	Drops    fabric.Drops   `json:"drops"`
}

// LaunchRequest is an instance to launch beside the cluster.
type LaunchRequest struct {
	Subnet vpc.SubnetID          `json:"subnet,omitempty"` // the first private one when empty
	Type   string                `json:"type,omitempty"`
	Name   string                `json:"name,omitempty"`
	Groups []vpc.SecurityGroupID `json:"groups,omitempty"`
}

func (w *World) controlMux() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) (any, error)) {
		m.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			v, err := f(rw, r)
			if err != nil {
				rw.WriteHeader(http.StatusBadRequest)
				v = map[string]string{"error": err.Error()}
			}
			if v != nil {
				_ = json.NewEncoder(rw).Encode(v) // the client may have gone
			}
		})
	}
	handle("GET /status", func(_ http.ResponseWriter, r *http.Request) (any, error) { return w.status(r.Context()), nil })
	handle("POST /instances", w.launch)
	handle("DELETE /instances/{id}", w.terminate)
	handle("POST /images", w.loadImage)
	handle("GET /pcap/{eni}", w.capture)
	handle("PUT /roles/{name}", w.putRole)
	handle("PUT /snapshot", w.loadSnapshot)
	handle("POST /nodes/{id}/reboot", w.reboot)
	return m
}

func (w *World) status(ctx context.Context) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{
		Ready: w.ready, Cluster: w.built.Name, Region: w.built.Region, Version: controlplane.Version, VPC: w.built.VPC,
		API: w.clientEnv().Endpoint, Kubeconfig: w.paths.Kubeconfig(), Env: w.clientEnv().Lines(), Started: w.started,
	}
	if w.plane != nil {
		s.Endpoint = w.plane.OperatorEndpoint()
	}
	if w.fault != nil {
		s.Fault = w.fault.Error()
	}
	for _, i := range w.present(w.built.Nodes) {
		n := w.instance(i)
		if m := w.machines[i.ID]; m != nil {
			n.Pids, n.Log, n.Shell = m.Pids(), m.LogFile("kubelet"), m.Shell()
		}
		s.Nodes = append(s.Nodes, n)
	}
	for _, i := range w.present(w.extra) {
		s.Instances = append(s.Instances, w.instance(i))
	}
	for _, i := range w.sim.Topology().Interfaces {
		if len(i.Addresses) == 0 {
			continue
		}
		drops, _ := w.fabric.Drops(ctx, i.ID) // none where it is not attached
		s.Interfaces = append(s.Interfaces, InterfaceStatus{
			ID: i.ID, Instance: i.Instance, Subnet: i.Subnet, Address: i.Addresses[0].String(), Others: len(i.Addresses) - 1, Drops: drops,
		})
	}
	return s
}

func (w *World) instance(i cluster.Instance) InstanceStatus {
	ns := w.fabric.Namespace(i.ID)
	return InstanceStatus{
		ID: i.ID, Name: i.Name, Address: i.Address.String(), Type: i.Type, Zone: i.Zone, Namespace: ns,
		Shell: []string{"nsenter", "--net=" + ns},
	}
}

// launch starts an instance outside the cluster: a network namespace with a configured interface.
func (w *World) launch(_ http.ResponseWriter, r *http.Request) (any, error) {
	var in LaunchRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	at := slices.IndexFunc(w.built.Subnets, func(s cluster.BuiltSubnet) bool { return s.ID == in.Subnet || in.Subnet == "" && !s.Public })
	if at < 0 {
		return nil, fmt.Errorf("subnet %s is none that the lab made", in.Subnet)
	}
	if in.Type == "" {
		in.Type = "t3.medium"
	}
	if in.Name == "" {
		in.Name = "outside"
	}
	i, err := cluster.Launch(w.sim, vpcsim.Caller{Account: Account, Source: "operator"}, cluster.Request{
		Subnet: w.built.Subnets[at], Type: in.Type, Groups: in.Groups, Tags: map[string]string{"Name": in.Name},
	})
	if err != nil {
		return nil, err
	}
	if err := w.awaitNamespace(r.Context(), i.ID); err != nil {
		return nil, err
	}
	if err := w.serveInstance(r.Context(), i.ID); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extra = append(w.extra, i)
	return w.instance(i), writeJSON(w.paths.instances(), w.extra)
}

// awaitNamespace waits until the network has an instance.
func (w *World) awaitNamespace(ctx context.Context, id vpc.InstanceID) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		w.mu.Lock()
		changed := w.applied
		w.mu.Unlock()
		if ns := w.fabric.Namespace(id); ns != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("instance %s has no network yet: %w", id, ctx.Err())
		case <-changed:
		}
	}
}

// terminate ends an instance that launch started.
func (w *World) terminate(_ http.ResponseWriter, r *http.Request) (any, error) {
	id := vpc.InstanceID(r.PathValue("id"))
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.IndexFunc(w.extra, func(i cluster.Instance) bool { return i.ID == id })
	if at < 0 {
		return nil, fmt.Errorf("instance %s is not one that run-instance started", id)
	}
	if err := cluster.Terminate(w.sim, vpcsim.Caller{Account: Account, Source: "operator"}, id); err != nil {
		return nil, err
	}
	w.extra = slices.Delete(w.extra, at, at+1)
	return struct{}{}, writeJSON(w.paths.instances(), w.extra)
}

// loadImage imports an archive into every node.
func (w *World) loadImage(_ http.ResponseWriter, r *http.Request) (any, error) {
	var in struct{ Path string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	w.mu.Lock()
	machines := slices.Collect(maps.Values(w.machines))
	w.mu.Unlock()
	var group errgroup.Group
	errs := make([]error, len(machines))
	for i, m := range machines {
		group.Go(func() error { errs[i] = m.ImportImage(r.Context(), in.Path); return nil })
	}
	_ = group.Wait()
	return struct{}{}, errors.Join(errs...)
}

// capture streams what passes an interface, as pcap.
func (w *World) capture(rw http.ResponseWriter, r *http.Request) (any, error) {
	rw.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	out := flusher{rw, http.NewResponseController(rw)}
	return nil, w.fabric.Capture(r.Context(), vpc.ENIID(r.PathValue("eni")), out)
}

// flusher sends each write on at once.
type flusher struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}
