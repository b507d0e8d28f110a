package world

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/deploy"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/lab/internal/addon"
	"github.com/berth-net/berth/lab/internal/controlplane"
)

// gatewayPort is where an instance finds EC2 and STS, at the address of its metadata service.
const gatewayPort = 8773

func (w *World) startAddons(_, background context.Context, _ *errgroup.Group) error {
	if err := w.unpackChart(); err != nil {
		return err
	}
	gateway := fmt.Sprintf("http://%s:%d", fabric.MetadataAddr, gatewayPort)
	kinds, err := addon.Catalogue(addon.Sources{
		Helm: addon.Helm{
			Program: w.paths.Cache().Bin("helm"), Chart: w.paths.chart() + "/chart/berth", Release: "aws-vpc-cni",
			KubeVersion: controlplane.Version,
		},
		CNI: map[string]any{
			"originalMatchLabels": true,
			"image":               map[string]any{"override": agentImage},
			"init":                map[string]any{"image": map[string]any{"override": agentImage}},
			"env": map[string]any{
				"CLUSTER_NAME": w.built.Name, "VPC_ID": string(w.built.VPC), "CLUSTER_ENDPOINT": w.plane.Endpoint(),
			},
			"extraEnv": []any{
				map[string]any{"name": "AWS_ENDPOINT_URL_EC2", "value": gateway},
				map[string]any{"name": "AWS_ENDPOINT_URL_STS", "value": gateway},
			},
		},
		CoreDNSImage: corednsImage, KubeVersion: "v" + controlplane.Version,
	})
	if err != nil {
		return err
	}
	addons, err := addon.Open(background, addon.Options{
		Kinds: kinds, Installer: addon.Kubectl{Program: w.paths.Cache().Bin("kubectl"), Kubeconfig: w.plane.Kubeconfig()},
		File: w.paths.addons(), Log: w.log, RolloutLimit: 3 * time.Minute, Poll: 500 * time.Millisecond,
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addons = addons
	return err
}

// unpackChart puts the chart where Helm can read it.
func (w *World) unpackChart() error {
	if err := os.RemoveAll(w.paths.chart()); err != nil {
		return fmt.Errorf("remove old chart: %w", err)
	}
	if err := os.CopyFS(w.paths.chart(), fs.FS(deploy.Chart)); err != nil {
		return fmt.Errorf("unpack chart: %w", err)
	}
	return nil
}

// installAddons installs what the file asks for and what EKS installs anyway, and waits until all of it runs. A lab that
// goes on has what its operator left of that.
func (w *World) installAddons(ctx, _ context.Context, _ *errgroup.Group) error {
	asked := map[string]eks.AddonChange{}
	for _, name := range []string{addon.CNI, addon.CoreDNS, addon.KubeProxy} {
		asked[name] = eks.AddonChange{Name: name, Create: true}
	}
	for _, a := range w.plan.Addons {
		change, ok := asked[a.Name]
		if !ok {
			w.progress.warn("the lab has no add-on %s", a.Name)
			continue
		}
		for _, k := range w.addons.Catalogue(ClusterVersion()) {
			if k.Addon == a.Name && otherVersion(a.Version, k.Version) {
				w.progress.warn("add-on %s: %s was asked for; the lab has one version of it, %s", a.Name, a.Version, k.Version)
			}
		}
		if a.ConfigurationValues != "" {
			change.ConfigurationValues = new(a.ConfigurationValues)
		}
		change.ResolveConflicts = a.ResolveConflicts
		asked[a.Name] = change
	}
	if w.options.WithoutCNI {
		delete(asked, addon.CNI)
		delete(asked, addon.CoreDNS) // it could not start
	}
	_, err := os.Stat(w.paths.installed())
	again := err == nil
	// One after the other: a pod that is created before every node is ready lands on those that are.
	for _, name := range []string{addon.KubeProxy, addon.CNI, addon.CoreDNS} {
		change, ok := asked[name]
		if !ok {
			continue
		}
		if slices.ContainsFunc(w.addons.Addons(), func(a eks.Addon) bool { return a.Name == name }) {
			change.Create, change.ResolveConflicts = false, string(addon.Preserve) // what somebody has set since stays
		} else if again {
			w.progress.say("add-on %s was removed", name)
			continue
		}
		if err := w.addons.Apply(change); err != nil {
			return fmt.Errorf("install add-on %s: %w", name, err)
		}
		if err := w.awaitAddon(ctx, name); err != nil {
			return err
		}
	}
	return writeFile(w.paths.installed(), nil)
}

// otherVersion tells whether the file asks for another version of an add-on than the lab's. A v in front, and "latest",
// are eksctl's.
func otherVersion(asked, have string) bool {
	return asked != "" && asked != "latest" && strings.TrimPrefix(asked, "v") != strings.TrimPrefix(have, "v")
}

// awaitAddon waits until what was asked for is done, and says why an add-on is not healthy.
func (w *World) awaitAddon(ctx context.Context, name string) error {
	done := make(chan struct{})
	go func() {
		w.addons.Wait()
		close(done)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
	}
	for _, a := range w.addons.Addons() {
		if a.Name != name {
			continue
		}
		if a.Status == eks.Active {
			w.progress.say("add-on %s %s is %s", a.Name, a.Version, a.Status)
			return nil
		}
		var why []string
		for _, issue := range a.Issues {
			why = append(why, issue.Message)
		}
		return fmt.Errorf("add-on %s is %s: %s", a.Name, a.Status, strings.Join(why, "; "))
	}
	return fmt.Errorf("add-on %s is gone", name)
}

// cluster is what runs of the cluster: nil while it does not yet.
func (w *World) cluster() (*controlplane.ControlPlane, *addon.Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plane, w.addons
}

// backend is the lab as EKS shows it. It is an [eks.Backend].
type backend struct{ w *World }

func (b backend) is(name string) error {
	if name != b.w.built.Name {
		return eks.NotFound("No cluster found for name: " + name + ".")
	}
	return nil
}

// Clusters lists the one cluster.
func (b backend) Clusters(context.Context) ([]eks.Cluster, error) {
	w := b.w
	plane, _ := w.cluster()
	c := eks.Cluster{
		Name: w.built.Name, ARN: fmt.Sprintf("arn:aws:eks:%s:%s:cluster/%s", w.built.Region, Account, w.built.Name),
		Version: ClusterVersion(), PlatformVersion: "eks.1", Status: "CREATING", CreatedAt: w.started,
		RoleARN:         fmt.Sprintf("arn:aws:iam::%s:role/eksctl-%s-cluster-ServiceRole", Account, w.built.Name),
		ServiceIPv4CIDR: "172.20.0.0/16", Tags: w.plan.Tags,
		VPC: eks.VPCConfig{
			VPC: w.built.VPC, ClusterGroup: w.built.ClusterGroup, Groups: []vpc.SecurityGroupID{w.built.ControlPlaneGroup},
			EndpointPublicAccess: true, PublicAccessCIDRs: []string{"0.0.0.0/0"},
		},
	}
	for _, s := range w.built.Subnets {
		c.VPC.Subnets = append(c.VPC.Subnets, s.ID)
	}
	if plane != nil {
		c.Status, c.Endpoint, c.CertificateAuthority = "ACTIVE", plane.OperatorEndpoint(), plane.Authority().PEM()
	}
	return []eks.Cluster{c}, nil
}

// ClusterVersion is the cluster's version as EKS names it, such as 1.35.
func ClusterVersion() string {
	major, rest, _ := strings.Cut(controlplane.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return major + "." + minor
}

// NodeGroups lists the node groups.
func (b backend) NodeGroups(_ context.Context, name string) ([]eks.NodeGroup, error) {
	if err := b.is(name); err != nil {
		return nil, err
	}
	w := b.w
	var out []eks.NodeGroup
	for _, g := range w.built.NodeGroups {
		n := eks.NodeGroup{
			Name: g.Name, Version: ClusterVersion(), ReleaseVersion: controlplane.Version + "-lab", Status: "ACTIVE",
			AMIType: "AL2023_x86_64_STANDARD", CapacityType: "ON_DEMAND", DiskSize: 80, InstanceTypes: []string{g.InstanceType},
			NodeRole: fmt.Sprintf("arn:aws:iam::%s:role/%s", Account, g.Role),
			MinSize:  g.Min, MaxSize: g.Max, DesiredSize: g.Desired, Labels: g.Labels, Tags: g.Tags,
			CreatedAt: w.started, ModifiedAt: w.started, AutoScalingGroups: []string{"eks-" + g.Name},
		}
		for _, s := range w.built.Subnets {
			if s.Public != g.Private && (len(g.Zones) == 0 || slices.Contains(g.Zones, s.Zone)) {
				n.Subnets = append(n.Subnets, s.ID)
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// Addons lists the add-ons.
func (b backend) Addons(_ context.Context, name string) ([]eks.Addon, error) {
	_, addons := b.w.cluster()
	if err := b.is(name); err != nil || addons == nil {
		return nil, err
	}
	return addons.Addons(), nil
}

// ApplyAddon creates or changes an add-on.
func (b backend) ApplyAddon(_ context.Context, name string, change eks.AddonChange) error {
	if err := b.is(name); err != nil {
		return err
	}
	_, addons := b.w.cluster()
	if addons == nil {
		return eks.InvalidRequest("Cluster " + name + " is not in ACTIVE state")
	}
	return addons.Apply(change)
}

// RemoveAddon removes an add-on.
func (b backend) RemoveAddon(_ context.Context, name, which string, preserve bool) error {
	if err := b.is(name); err != nil {
		return err
	}
	_, addons := b.w.cluster()
	if addons == nil {
		return eks.NotFound("No addon: " + which + " found")
	}
	return addons.Remove(which, preserve)
}

// Catalogue lists the add-ons that there are.
func (b backend) Catalogue(context.Context) ([]eks.AddonVersion, error) {
	_, addons := b.w.cluster()
	if addons == nil {
		return nil, nil
	}
	return addons.Catalogue(ClusterVersion()), nil
}
