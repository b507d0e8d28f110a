// Package rig runs the real agent and the real plugin on simulated instances, without Kubernetes: network namespaces of
// the fabric, EC2 and metadata over HTTP, pods that are bare namespaces. Only tests and benchmarks import it.
package rig

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/internal/vpcsim/wire"
)

// Options say what the rig is made of. The zero value is one m5.large in a /24.
type Options struct {
	Type     string // of the instance, default m5.large
	CIDR     string // of the VPC, default 10.0.0.0/16
	Subnet   string // of the instance's subnet, default 10.0.0.0/24
	Owner    string // the account that owns the VPC and shares its subnets, default the instance's own
	Settings vpcsim.Settings
}

// Rig is a simulated VPC with one instance on which the agent runs.
type Rig struct {
	TB       testing.TB
	Sim      *vpcsim.Sim
	Server   *wire.Server
	Fabric   *fabric.Fabric
	VPC      string
	Subnet   string
	Instance vpc.InstanceID
	Node     string // the name of the instance's Node object
	Dir      string // short: sockets live below it
	Bin      string // where berth-agent and berth-cni are

	// OldPlugins makes every second ADD and DEL come from a plugin of version 1 of the protocol.
	OldPlugins atomic.Bool
	calls      atomic.Int64

	cancel context.CancelFunc
	owner  vpcsim.Caller // of the VPC and its subnets
	agent  *Agent
	pods   int
}

// APIAddress is where EC2 answers, one link outside the instance.
const APIAddress = "169.254.169.254:8773"

// New builds the rig and removes it when the test ends. It needs root, nft and the built programs; BERTH_BIN says where
// they are, bin/ of the repository otherwise.
func New(tb testing.TB, o Options) *Rig {
	tb.Helper()
	testkit.RequireRoot(tb)
	testkit.RequireProgram(tb, "nft")
	ctx, cancel := context.WithCancel(context.Background())
	r := &Rig{TB: tb, Bin: programs(tb), Node: "node", cancel: cancel}
	r.makeDir()
	r.build(o)
	r.serve(ctx)
	return r
}

func (r *Rig) makeDir() {
	r.TB.Helper()
	dir, err := os.MkdirTemp("", "rig")
	r.must("make directory", err)
	r.Dir = dir
	r.TB.Cleanup(func() { _ = os.RemoveAll(dir) })
}

func programs(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("BERTH_BIN")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			tb.Fatal(err)
		}
		for ; ; wd = filepath.Dir(wd) {
			if _, err := os.Stat(filepath.Join(wd, "go.mod")); err == nil || wd == "/" {
				break
			}
		}
		dir = filepath.Join(wd, "bin")
	}
	for _, name := range []string{"berth-agent", "berth-cni"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			tb.Fatalf("%v: run `make build` first", err)
		}
	}
	return dir
}

func or(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}

func (r *Rig) must(what string, err error) {
	r.TB.Helper()
	if err != nil {
		r.TB.Fatalf("%s: %v", what, err)
	}
}

// build makes the VPC and the instance.
func (r *Rig) build(o Options) {
	r.TB.Helper()
	r.Sim = vpcsim.New(vpcsim.Options{Seed: 1, Account: account})
	r.owner = vpcsim.Caller{Source: operator.Source, Account: vpc.AccountID(o.Owner)}
	v, err := r.Sim.CreateVpc(r.owner, ec2.CreateVpcInput{CidrBlock: or(o.CIDR, "10.0.0.0/16")})
	r.must("create vpc", err)
	r.VPC = v.Vpc.VpcId
	r.Subnet = r.NewSubnet(SubnetOptions{CIDR: or(o.Subnet, "10.0.0.0/24")})
	r.Instance = r.Launch(or(o.Type, "m5.large"), r.Subnet)
	r.Sim.SetSettings(o.Settings)
}

// Launch runs another instance in a subnet.
func (r *Rig) Launch(kind, subnet string) vpc.InstanceID {
	r.TB.Helper()
	one := 1
	out, err := r.Sim.RunInstances(operator, ec2.RunInstancesInput{
		ImageId: "ami-0123456789abcdef0", InstanceType: kind, SubnetId: subnet, MinCount: &one, MaxCount: &one,
	})
	r.must("run instance", err)
	return vpc.InstanceID(out.Instances[0].InstanceId)
}

// serve brings up the fabric and the HTTP servers and keeps the fabric up to date.
func (r *Rig) serve(ctx context.Context) {
	r.TB.Helper()
	log := slog.New(slog.DiscardHandler)
	var err error
	r.Fabric, err = fabric.New(fabric.Options{Prefix: testkit.NamePrefix() + "-" + filepath.Base(r.Dir), Dir: "/run/netns", Logger: log})
	r.must("create fabric", err)
	r.must("build fabric", r.Fabric.Apply(ctx, r.Sim.Topology()))
	r.Server = wire.New(r.Sim, wire.Options{Log: log})
	done := make(chan struct{})
	go func() { defer close(done); r.follow(ctx) }()
	r.answer(ctx)
	r.TB.Cleanup(func() {
		r.cancel()
		<-done
		if err := r.Fabric.Close(context.Background()); err != nil {
			r.TB.Errorf("remove fabric: %v", err)
		}
	})
}

// answer serves EC2 and metadata to the instance.
func (r *Rig) answer(ctx context.Context) {
	r.TB.Helper()
	api, err := r.Fabric.Listen(ctx, r.Instance, "tcp", APIAddress)
	r.must("listen for the API", err)
	imds, err := r.Fabric.Listen(ctx, r.Instance, "tcp", "169.254.169.254:80")
	r.must("listen for metadata", err)
	go func() { _ = r.Server.ServeAPI(ctx, api, vpcsim.Caller{Source: "node:" + string(r.Instance)}) }()
	go func() { _ = r.Server.ServeIMDS(ctx, imds, r.Instance) }()
}

// follow applies each change of the simulator's topology, and lets its own transitions happen in time.
func (r *Rig) follow(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.Sim.Topology() // what is due happens
			continue
		case <-r.Sim.Changed():
		}
		if err := r.Fabric.Apply(ctx, r.Sim.Topology()); err != nil && ctx.Err() == nil {
			r.TB.Errorf("apply topology: %v", err)
		}
	}
}

// Settle waits until the packets meet what EC2 has now.
func (r *Rig) Settle() {
	r.TB.Helper()
	r.must("apply topology", r.Fabric.Apply(r.TB.Context(), r.Sim.Topology()))
}

// Calls counts EC2 calls of the node by action since a mark.
func (r *Rig) Calls(mark string) map[string]int {
	r.TB.Helper()
	counts, ok := r.Server.Calls(mark)
	if !ok {
		r.TB.Fatalf("no mark %q", mark)
	}
	calls := map[string]int{}
	for _, c := range counts {
		if c.Caller == "node:"+string(r.Instance) {
			calls[c.Action] += c.Count
		}
	}
	return calls
}
