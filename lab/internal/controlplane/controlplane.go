// Package controlplane runs a real Kubernetes control plane (etcd, API server, controller manager, scheduler) inside a
// network namespace that somebody else made, as EKS runs one behind interfaces in the customer's VPC.
//
// Nothing of it listens in the machine's own network namespace but a forwarder on a loopback port, for the operator. Its
// state is one folder; a control plane started on the folder of an earlier one is the same cluster.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-net/berth/lab/internal/layout"
	"github.com/berth-net/berth/lab/internal/pki"
	"github.com/berth-net/berth/lab/internal/proc"
)

// Version is the lab's one Kubernetes version.
const Version = "1.35.4"

// startLimit is how long a part may take to become healthy: 4 s on an idle two-core machine, minutes on an emulated one.
// A part that ends by itself so many times is given up at once: it will not start by being slow.
const (
	startLimit   = 10 * time.Minute
	mostRestarts = 3
)

// Config is a control plane as asked for.
type Config struct {
	// Cluster is the cluster's name.
	Cluster string
	// Dir holds keys, etcd's data, kubeconfigs and logs.
	Dir string
	// NetNS is the path of its network namespace, which has lo up and Advertise on an interface.
	NetNS string
	// Advertise is the address that nodes reach it at.
	Advertise netip.Addr
	// Port is the API server's; zero is 443, as of an EKS endpoint.
	Port uint16
	// ServiceRange is that of cluster addresses; zero is 172.20.0.0/16.
	ServiceRange netip.Prefix
	// Names are further host names under which the API server is asked for.
	Names []string
	// Issuer is the URL that names the issuer of service account tokens; empty is one inside the cluster.
	Issuer string
	// Operator is the loopback address of the forwarder; a zero port takes a free one, no address takes 127.0.0.1.
	Operator netip.AddrPort
	// Flags are put after the API server's own, for what a test or a feature needs.
	Flags []string
	Cache layout.Cache
	Log   *slog.Logger
}

// ControlPlane is a running one.
type ControlPlane struct {
	config    Config
	spawner   *proc.Spawner
	authority *pki.Authority
	services  []*proc.Service // in the order of their start
	forward   *forwarder
}

// defaults fills in what was left out.
func (c Config) defaults() Config {
	if c.Port == 0 {
		c.Port = 443
	}
	if !c.ServiceRange.IsValid() {
		c.ServiceRange = netip.MustParsePrefix("172.20.0.0/16")
	}
	if c.Issuer == "" {
		c.Issuer = "https://kubernetes.default.svc"
	}
	if !c.Operator.Addr().IsValid() {
		c.Operator = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), c.Operator.Port())
	}
	return c
}

// validate rejects what would only fail later.
func (c Config) validate() error {
	switch {
	case c.Cluster == "" || c.Dir == "" || c.NetNS == "" || c.Cache == "" || c.Log == nil:
		return errors.New("cluster, folder, network namespace, cache and log are needed")
	case !c.Advertise.Is4():
		return fmt.Errorf("address to advertise %q is no IPv4 address", c.Advertise)
	case !c.Operator.Addr().IsLoopback():
		return fmt.Errorf("operator's address %s is not on the loopback", c.Operator)
	}
	return nil
}

// Start starts a control plane and returns when it is healthy. On an error nothing is left running.
func Start(ctx context.Context, config Config) (*ControlPlane, error) {
	config = config.defaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	c := &ControlPlane{config: config, spawner: proc.NewSpawner()}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane of %s: %w", config.Cluster, err), c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := c.certificates(); err != nil {
		return err
	}
	forward, err := listen(ctx, c.config.Operator, c.config.NetNS, netip.AddrPortFrom(c.config.Advertise, c.config.Port))
	if err != nil {
		return err
	}
	c.forward = forward
	if err := c.kubeconfigs(); err != nil {
		return err
	}
	for _, stage := range c.stages() {
		services := make([]*proc.Service, len(stage))
		for i, p := range stage {
			if services[i], err = c.serve(p); err != nil {
				return err
			}
		}
		for i, p := range stage {
			if err := c.healthy(ctx, p, services[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve starts a part.
func (c *ControlPlane) serve(p part) (*proc.Service, error) {
	service, err := c.spawner.Serve(proc.Spec{
		Name: p.name, Path: c.config.Cache.Bin("berth-kube"), Argv0: p.name, Args: p.args, Dir: c.config.Dir, NetNS: c.config.NetNS,
		Log: c.LogFile(p.name), Grace: 4 * time.Second,
		Env: append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.config.Dir}, p.env...),
	}, c.config.Log)
	if err != nil {
		return nil, err
	}
	c.services = append(c.services, service)
	return service, nil
}

// Stop ends the control plane, the last started part first. Its folder stays.
func (c *ControlPlane) Stop() error {
	var errs []error
	for _, service := range slices.Backward(c.services) {
		errs = append(errs, service.Stop())
	}
	c.services = nil
	if c.forward != nil {
		errs = append(errs, c.forward.close())
		c.forward = nil
	}
	c.spawner.Close()
	return errors.Join(errs...)
}

// LogFile is where a part's output goes: etcd, kube-apiserver, kube-controller-manager or kube-scheduler.
func (c *ControlPlane) LogFile(name string) string {
	return filepath.Join(c.config.Dir, "log", name+".log")
}

// Endpoint is the API server as nodes and pods reach it.
func (c *ControlPlane) Endpoint() string {
	return "https://" + netip.AddrPortFrom(c.config.Advertise, c.config.Port).String()
}

// OperatorEndpoint is the API server through the forwarder.
func (c *ControlPlane) OperatorEndpoint() string { return "https://" + c.forward.addr.String() }

// Kubeconfig is the operator's file, through the forwarder.
func (c *ControlPlane) Kubeconfig() string { return filepath.Join(c.config.Dir, "kubeconfig") }

// Authority is what signs the cluster's certificates.
func (c *ControlPlane) Authority() *pki.Authority { return c.authority }

// ServiceAccountKey is the public key of service account tokens, in PEM.
func (c *ControlPlane) ServiceAccountKey() ([]byte, error) {
	text, err := os.ReadFile(c.key("sa.pub"))
	if err != nil {
		return nil, fmt.Errorf("read service account key: %w", err)
	}
	return text, nil
}

// ClusterDNS is the address that the cluster's DNS service has: the tenth of the service range.
func (c *ControlPlane) ClusterDNS() netip.Addr { return nth(c.config.ServiceRange, 10) }

// nth is the nth address of a range.
func nth(p netip.Prefix, n int) netip.Addr {
	addr := p.Masked().Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}
