package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/lab/internal/addon"
	"github.com/berth-net/berth/lab/internal/cluster"
	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/machine"
)

// Account is the account that everything in the lab belongs to.
const Account vpc.AccountID = "111122223333"

// fabricPrefix starts the names of the lab's namespaces.
const fabricPrefix = "lab-"

// Options say what to run.
type Options struct {
	Paths Paths
	// WithoutCNI leaves the add-on vpc-cni out: nodes stay NotReady until something else is installed.
	WithoutCNI bool
	// Proxy is kube-proxy's mode.
	Proxy machine.ProxyMode
	Log   *slog.Logger
}

// World is a running lab.
type World struct {
	options  Options
	paths    Paths
	log      *slog.Logger
	progress *progress
	started  time.Time

	plan  cluster.Plan
	built cluster.Built

	sim    *vpcsim.Sim
	fabric *fabric.Fabric
	apis   *apis
	ports  ports

	mu       sync.Mutex // guards what follows
	plane    *controlplane.ControlPlane
	addons   *addon.Store
	machines map[vpc.InstanceID]*machine.Machine
	extra    []cluster.Instance // launched by lab run-instance
	trust    map[string]string  // the service account that a role trusts
	applied  chan struct{}      // closed, and replaced, after each change that the fabric has made
	fault    error              // the last error of the fabric
	ready    bool
}

// Serve builds the world, or goes on with the one that is on disk, and keeps it until ctx ends. Then it takes everything
// away that only a running lab has; the disk stays.
func Serve(ctx context.Context, o Options) error {
	out, err := os.OpenFile(o.Paths.Progress(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open progress file: %w", err)
	}
	defer func() { _ = out.Close() }()
	w := &World{
		options: o, paths: o.Paths, log: o.Log, progress: newProgress(out), started: time.Now(),
		machines: map[vpc.InstanceID]*machine.Machine{}, applied: make(chan struct{}),
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, groupCtx := errgroup.WithContext(background)
	err = w.up(ctx, groupCtx, group)
	if err == nil {
		w.mu.Lock()
		w.ready = true
		w.mu.Unlock()
		w.progress.write(Step{Text: "the lab is up", Ready: true})
		select {
		case <-ctx.Done():
		case <-groupCtx.Done():
			err = context.Cause(groupCtx)
		}
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("lab ends", "err", err)
		w.progress.write(Step{Error: err.Error()})
	}
	err = errors.Join(err, w.down(stop, group))
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was asked to end
	}
	return err
}

// up starts the parts in their order. What runs in the background belongs to the group.
func (w *World) up(ctx, background context.Context, group *errgroup.Group) error {
	if err := w.load(); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		run  func(context.Context, context.Context, *errgroup.Group) error
	}{
		{"the VPC", w.startVPC},
		{"the network", w.startFabric},
		{"the APIs", w.startAPIs},
		{"the control plane starts", w.startControlPlane},
		{"the add-ons' state", w.startAddons},
		{"the nodes start", w.startNodes},
		{"the nodes register", w.awaitNodes},
		{"the add-ons are rolled out", w.installAddons},
	} {
		if err := w.progress.during(step.what, func() error { return step.run(ctx, background, group) }); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// load reads what was asked for, and what there is of it.
func (w *World) load() error {
	text, err := os.ReadFile(w.paths.Config())
	if err != nil {
		return fmt.Errorf("read cluster config: %w", err)
	}
	config, _, err := cluster.Parse(text)
	if err != nil {
		return err
	}
	if w.plan, err = cluster.NewPlan(config); err != nil {
		return err
	}
	if err := readJSON(w.paths.ports(), &w.ports); err != nil {
		return err
	}
	if err := readJSON(w.paths.roles(), &w.trust); err != nil {
		return err
	}
	return readJSON(w.paths.instances(), &w.extra)
}

// startVPC makes the VPC, or takes it from the snapshot.
func (w *World) startVPC(_, _ context.Context, _ *errgroup.Group) error {
	zones := make([]vpcsim.Zone, 0, len(w.plan.Zones))
	for i, name := range w.plan.Zones {
		zones = append(zones, vpcsim.Zone{Name: name, ID: zoneID(w.plan.Region, i)})
	}
	w.sim = vpcsim.New(vpcsim.Options{Region: w.plan.Region, Account: Account, Zones: zones, Seed: uint64(time.Now().UnixNano())})
	snapshot, err := os.ReadFile(w.paths.snapshot())
	if err == nil {
		if err := w.sim.Restore(snapshot); err != nil {
			return fmt.Errorf("restore VPC from %s: %w", w.paths.snapshot(), err)
		}
		w.progress.say("VPC restored from the last run")
		return readJSON(w.paths.built(), &w.built)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read snapshot of the VPC: %w", err)
	}
	caller := vpcsim.Caller{Account: Account, Source: "eksctl"}
	if w.built, err = cluster.Build(w.sim, caller, w.plan); err != nil {
		return err
	}
	w.sim.SetSettings(Settings())
	if err := writeJSON(w.paths.built(), w.built); err != nil {
		return err
	}
	w.progress.say("VPC %s %s with %d subnets, %d instances", w.built.VPC, w.built.CIDR, len(w.built.Subnets), len(w.built.Nodes))
	return w.save()
}

// startFabric builds the network and keeps it as the VPC says.
func (w *World) startFabric(ctx, background context.Context, group *errgroup.Group) error {
	f, err := fabric.New(fabric.Options{Prefix: fabricPrefix, Dir: w.paths.netns(), NFT: w.paths.Cache().Bin("nft"), Logger: w.log})
	if err != nil {
		return err
	}
	w.fabric = f
	if err := f.Apply(ctx, w.sim.Topology()); err != nil {
		return fmt.Errorf("build network: %w", err)
	}
	group.Go(func() error { return w.sim.Run(background) })
	group.Go(func() error { return w.follow(background) })
	w.progress.say("network: %d namespaces, routers, security groups, NAT and internet", len(w.built.Nodes)+len(w.built.ControlPlane))
	return nil
}

// follow applies each change of the VPC to the network and to the disk. An error does not end the lab: the next change,
// or a second, tries again.
func (w *World) follow(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.sim.Changed():
		case <-again:
		}
		again = nil
		err := errors.Join(w.reap(ctx), w.fabric.Apply(ctx, w.sim.Topology()), w.save())
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end: what was cut off is not an error
		}
		if err != nil {
			w.log.Error("change of the VPC is not carried out", "err", err)
			again = time.After(time.Second)
		}
		w.mu.Lock()
		w.fault = err
		close(w.applied)
		w.applied = make(chan struct{})
		w.mu.Unlock()
	}
}

// save writes the VPC to the disk.
func (w *World) save() error {
	data, err := w.sim.Snapshot()
	if err != nil {
		return fmt.Errorf("take snapshot of the VPC: %w", err)
	}
	return writeFile(w.paths.snapshot(), data)
}

// zoneID is the id of the n-th zone of a region, as EC2 abbreviates it: usw2-az1, apse2-az1.
func zoneID(region string, n int) string {
	short := strings.NewReplacer("north", "n", "south", "s", "east", "e", "west", "w", "central", "c", "-", "").Replace(region)
	return fmt.Sprintf("%s-az%d", short, n+1)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, data)
}

// writeFile replaces a file as a whole.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
