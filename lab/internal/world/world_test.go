package world

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/lab/internal/cluster"
)

// built is a world with a VPC and nothing that runs.
func built(t *testing.T) *World {
	t.Helper()
	return seeded(t, 1)
}

// seeded is one with ids of its own.
func seeded(t *testing.T, seed uint64) *World {
	t.Helper()
	config, _, err := cluster.Parse([]byte(`{"apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": {"name": "test", "region": "us-west-2"},
		"vpc": {"cidr": "10.0.0.0/24"}, "managedNodeGroups": [{"name": "ng", "instanceType": "m5.large", "privateNetworking": true, "desiredCapacity": 2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{log: slog.New(slog.DiscardHandler), applied: make(chan struct{})}
	if w.plan, err = cluster.NewPlan(config); err != nil {
		t.Fatal(err)
	}
	w.sim = vpcsim.New(vpcsim.Options{Region: "us-west-2", Account: Account, Seed: seed})
	if w.built, err = cluster.Build(w.sim, vpcsim.Caller{Account: Account}, w.plan); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestResolverKnowsAddressesInUse(t *testing.T) {
	w := built(t)
	r, node := resolver{w}, w.built.Nodes[0]
	if got, ok := r.Addresses(node.Name); !ok || got[0] != node.Address {
		t.Errorf("%s: %v %t", node.Name, got, ok)
	}
	if got := r.Name(node.Address); got != node.Name {
		t.Errorf("%s: %q", node.Address, got)
	}
	for _, name := range []string{"ip-10-0-0-1.us-west-2.compute.internal", "ip-10-0-0.us-west-2.compute.internal", "example.com", "us-west-2.compute.internal"} {
		if got, ok := r.Addresses(name); ok {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := r.Name(netip.MustParseAddr("10.0.0.1")); got != "" {
		t.Errorf("an address that nobody has: %q", got)
	}
}

func TestClusterAsEKSShowsIt(t *testing.T) {
	b := backend{built(t)}
	clusters, err := b.Clusters(t.Context())
	if err != nil || len(clusters) != 1 {
		t.Fatal(clusters, err)
	}
	c := clusters[0]
	if c.Version != "1.35" || c.Status != "CREATING" || len(c.VPC.Subnets) != 6 || c.VPC.ClusterGroup == "" {
		t.Errorf("%+v", c)
	}
	groups, err := b.NodeGroups(t.Context(), "test")
	if err != nil || len(groups) != 1 || len(groups[0].Subnets) != 3 || groups[0].DesiredSize != 2 {
		t.Errorf("%+v %v", groups, err)
	}
	if _, err := b.NodeGroups(t.Context(), "other"); err == nil {
		t.Error("another cluster has node groups")
	}
	if err := b.ApplyAddon(t.Context(), "test", eks.AddonChange{Name: "coredns"}); err == nil {
		t.Error("an add-on can be installed before the cluster runs")
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.say("one %d", 1)
	p.warn("two")
	p.write(Step{Error: "three"})
	var got []Step
	for d := json.NewDecoder(&out); d.More(); {
		var s Step
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if len(got) != 3 || got[0].Text != "one 1" || !got[1].Warning || got[2].Error != "three" {
		t.Errorf("%+v", got)
	}
}

func TestZoneIDs(t *testing.T) {
	for region, want := range map[string]string{"us-west-2": "usw2-az1", "eu-central-1": "euc1-az1", "ap-southeast-2": "apse2-az1"} {
		if got := zoneID(region, 0); got != want {
			t.Errorf("%s: got %s, want %s", region, got, want)
		}
	}
}

func TestWebIdentityNeedsACluster(t *testing.T) {
	if _, err := (trusted{built(t)}).VerifyWebIdentity(t.Context(), "x.y.z", "arn:aws:iam::111122223333:role/x"); err == nil {
		t.Error("a token is accepted before there is a cluster")
	}
}

func TestVersionOfAnAddon(t *testing.T) {
	for asked, want := range map[string]bool{
		"": false, "latest": false, "v1.23.1-berth.1": false, "1.23.1-berth.1": false, "1.18.0": true, "v1.23.1-eksbuild.1": true,
	} {
		if got := otherVersion(asked, "v1.23.1-berth.1"); got != want {
			t.Errorf("%q: %t, want %t", asked, got, want)
		}
	}
}

func TestTerminatedInstanceIsNoNode(t *testing.T) {
	w := built(t)
	if len(w.nodes()) != 2 {
		t.Fatal(w.nodes())
	}
	gone := w.built.Nodes[0].ID
	if err := cluster.Terminate(w.sim, vpcsim.Caller{Account: Account}, gone); err != nil {
		t.Fatal(err)
	}
	if left := w.nodes(); len(left) != 1 || left[0].ID == gone {
		t.Errorf("nodes are %v", left)
	}
}

func TestSnapshotOfAnotherLabIsRefused(t *testing.T) {
	w, other := built(t), seeded(t, 2)
	foreign, err := other.sim.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for want, state := range map[string][]byte{"is of another lab": foreign, "restore snapshot": []byte("{")} {
		before := w.sim.Topology().Revision
		_, err := w.loadSnapshot(nil, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/snapshot", bytes.NewReader(state)))
		if err == nil || !strings.Contains(err.Error(), want) || w.sim.Topology().Revision != before {
			t.Errorf("got %v, want %q and the VPC as it was", err, want)
		}
	}
}
