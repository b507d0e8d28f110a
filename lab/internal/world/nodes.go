package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/lab/internal/cluster"
	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/machine"
)

func (w *World) startControlPlane(ctx, _ context.Context, _ *errgroup.Group) error {
	first := w.built.ControlPlane[0]
	config := controlplane.Config{
		Cluster: w.built.Name, Dir: w.paths.Plane(), NetNS: w.fabric.Namespace(first.ID), Advertise: first.Address,
		Operator: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), w.ports.Kubernetes),
		Cache:    w.paths.Cache(), Log: w.log,
	}
	plane, err := controlplane.Start(ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) { // somebody took the last run's port meanwhile
		config.Operator = netip.AddrPort{}
		plane, err = controlplane.Start(ctx, config)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.plane = plane
	w.mu.Unlock()
	w.progress.say("control plane %s at %s", controlplane.Version, plane.Endpoint())
	return w.keepPort(&w.ports.Kubernetes, plane.OperatorEndpoint())
}

// startNodes starts all nodes at once: most of the time is waiting.
func (w *World) startNodes(ctx, _ context.Context, _ *errgroup.Group) error {
	archives, err := w.buildImages()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, i := range w.nodes() {
		group.Go(func() error { return w.startNode(ctx, i, archives) })
	}
	return group.Wait()
}

// registerLimit is how long a kubelet may take to register its node: 2 s on an idle two-core machine, minutes on an emulated one.
const registerLimit = 5 * time.Minute

// awaitNodes waits until every node is known to the API server.
func (w *World) awaitNodes(ctx, _ context.Context, _ *errgroup.Group) error {
	ctx, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	for {
		asked := time.Now()
		out, err := exec.CommandContext(ctx, w.paths.Cache().Bin("kubectl"), "--kubeconfig", w.plane.Kubeconfig(), "get", "nodes", "-o", "name").Output()
		missing := slices.DeleteFunc(w.nodes(), func(i cluster.Instance) bool {
			return strings.Contains(string(out), "node/"+i.Name+"\n")
		})
		if err == nil && len(missing) == 0 {
			return nil
		}
		timer := time.NewTimer(max(200*time.Millisecond, 2*time.Since(asked))) // kubectl is not to hold up what it asks about
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for %d nodes to register (see berth lab logs): %w", len(missing), ctx.Err())
		case <-timer.C:
		}
	}
}

func (w *World) startNode(ctx context.Context, i cluster.Instance, archives []string) error {
	credentials, err := w.plane.Node(i.Name, i.Address)
	if err != nil {
		return err
	}
	labels := map[string]string{
		"topology.kubernetes.io/region": w.built.Region, "topology.kubernetes.io/zone": string(i.Zone),
		"node.kubernetes.io/instance-type": i.Type,
	}
	maps.Copy(labels, i.Labels)
	m, err := machine.Start(ctx, machine.Config{
		Name: i.Name, Dir: w.nodeDir(i), NetNS: w.fabric.Namespace(i.ID), Addr: i.Address,
		ProviderID: fmt.Sprintf("aws:///%s/%s", i.Zone, i.ID), Labels: labels, MaxPods: i.MaxPods,
		ClusterDNS: w.plane.ClusterDNS(), Resolv: w.resolvConf(), Credentials: credentials, Proxy: w.options.Proxy,
		Images: archives, Cache: w.paths.Cache(), Log: w.log,
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.machines[i.ID] = m
	w.mu.Unlock()
	w.progress.say("node %s %s in %s, %d pods at most", i.Name, i.Type, i.Zone, i.MaxPods)
	return nil
}

func (w *World) nodeDir(i cluster.Instance) string {
	short, _, _ := strings.Cut(i.Name, ".")
	return filepath.Join(w.paths.Nodes(), short)
}

// resolvConf is that of an instance: the VPC's resolver and the region's search domain.
func (w *World) resolvConf() string {
	return fmt.Sprintf("nameserver %s\nsearch %s.compute.internal\n", fabric.ResolverAddr, w.built.Region)
}

// imageNames are the references of the lab's own images.
const (
	agentImage   = "berth-agent:lab"
	corednsImage = "registry.k8s.io/coredns/coredns:lab"
)

// buildImages builds the images that a node starts with and returns their archives.
func (w *World) buildImages() ([]string, error) {
	cache := w.paths.Cache()
	archives := []string{cache.Image("pause"), cache.Image("agnhost")}
	specs := map[string]image.Spec{
		"coredns": {
			Names: []string{corednsImage}, Files: []image.File{{Path: "/coredns", From: cache.Bin("coredns")}},
			Config: image.Config{Entrypoint: []string{"/coredns"}},
		},
		"pause": image.Pause(cache), "agnhost": image.Agnhost(cache),
	}
	if !w.options.WithoutCNI {
		specs["agent"] = AgentImage(w.paths)
	}
	for _, name := range []string{"coredns", "agent", "pause", "agnhost"} {
		spec, ok := specs[name]
		if !ok {
			continue
		}
		file := cache.Image(name)
		if err := image.Write(spec, file); err != nil {
			return nil, fmt.Errorf("build image %s: %w", name, err)
		}
		if name == "coredns" || name == "agent" {
			archives = append(archives, file)
		}
	}
	w.progress.say("images: %s", strings.Join(names(archives), ", "))
	return archives, nil
}

func names(archives []string) []string {
	out := make([]string, len(archives))
	for i, a := range archives {
		out[i] = strings.TrimSuffix(filepath.Base(a), ".tar")
	}
	return out
}

// AgentImage is the image of the DaemonSet aws-node: the agent, the plugin that it installs, the plugins that are
// chained to it, and nft.
func AgentImage(p Paths) image.Spec {
	cache := p.Cache()
	spec := image.Spec{
		Names: []string{agentImage},
		Files: []image.File{
			{Path: "/app/berth-agent", From: p.Program("berth-agent")},
			{Path: "/app/berth-cni", From: p.Program("berth-cni")},
			{Path: "/app/berth-controller", From: p.Program("berth-controller")},
		},
		Dirs:     []string{"/tmp", "/var/run", "/host"},
		Programs: []image.Program{{Root: cache.NodeRoot(), Path: "/usr/sbin/nft"}},
		Config: image.Config{
			Entrypoint: []string{"/app/berth-agent"}, WorkingDir: "/app", Env: []string{"PATH=/app:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
	}
	for _, plugin := range []string{"portmap", "bandwidth", "tuning", "loopback", "host-local"} {
		spec.Files = append(spec.Files, image.File{Path: "/app/plugins/" + plugin, From: filepath.Join(cache.CNI(), plugin)})
	}
	return spec
}

// stopNodes stops all nodes; their disks stay.
func (w *World) stopNodes() error {
	w.mu.Lock()
	machines := w.machines
	w.machines = map[vpc.InstanceID]*machine.Machine{}
	w.mu.Unlock()
	errs := make(chan error, len(machines))
	for _, m := range machines {
		go func() { errs <- m.Stop(false) }()
	}
	var all []error
	for range machines {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
