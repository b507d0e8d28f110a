package bench

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/rig"
)

// policyMemory is what an agent has in memory whose node has 110 pods, in a cluster of 30,000 pods and 1,000 policies. Pods are as large
// as a real API server sends them.
func policyMemory(t *testing.T) []row {
	const cluster, local = 30_000, 110
	r := rig.New(t, rig.Options{Type: "m5.4xlarge"})
	api := manyPolicies(r)
	api.SetNode(r.Node, object{"metadata": object{"name": r.Node}, "status": object{"capacity": object{"pods": fmt.Sprint(local + 10)}}})
	for i := range cluster - policies {
		addr := netip.AddrFrom4([4]byte{10, 16, byte(i / 250), byte(i%250 + 1)})
		api.Set("pods", fmt.Sprint("pod-", i), largePod(fmt.Sprint("pod-", i), fmt.Sprint("first-", i%policies), addr))
	}
	a := enforce(t, r, api, local)
	began := time.Now()
	for i := range local {
		p := r.NewPod()
		p.Name = fmt.Sprint("first-", i)
		c := r.Add(&p)
		for again := 0; c.Err != nil && again < 6; again++ { // as the kubelet does: the first waits for the list of all pods
			c = r.Add(&p)
		}
		if c.Err != nil {
			t.Fatalf("ADD: %v", c.Err)
		}
	}
	adds := time.Since(began)
	for i := range 2000 { // the cluster changes meanwhile
		name := fmt.Sprint("pod-", i)
		api.Set("pods", name, largePod(name, fmt.Sprint("first-", (i+1)%policies), netip.AddrFrom4([4]byte{10, 16, byte(i / 250), byte(i%250 + 1)})))
	}
	testkit.Eventually(t, "policies in force", func() bool {
		var report struct{ Policy struct{ Pods, Waiting int } }
		a.Get("/v1/berth", &report)
		return report.Policy.Pods == local && report.Policy.Waiting == 0
	})
	t.Logf("agent: %d MB at the end, %d MB at most; %d ADDs in %s", a.RSS()>>20, a.PeakRSS()>>20, local, adds)
	return []row{{"agent memory (RSS at most): 110 local pods, 30,000 pods and 1,000 policies in the cluster", float64(a.PeakRSS()) / 1e6, "MB", none, 120, false}}
}

// largePod is a pod of another node with about what an API server sends of one: 6 kB.
func largePod(name, app string, addr netip.Addr) object {
	return object{
		"metadata": object{
			"namespace": "default", "name": name, "uid": "uid-" + name, "labels": object{"app": app, "pod-template-hash": "7d4b9c6f5", "tier": "backend", "release": "stable"},
			"annotations": object{"checksum/config": strings.Repeat("0123456789abcdef", 4)}, "managedFields": []object{{"fieldsV1": object{"f:metadata": fields}}},
		},
		"spec": object{"nodeName": "elsewhere", "containers": []object{{
			"name": "app", "image": "registry.example/team/app:1.2.3", "ports": []object{{"name": "http", "containerPort": 8080, "protocol": "TCP"}}, "env": []object{{"name": "X", "value": fields[:500]}},
		}}},
		"status": object{"phase": "Running", "podIP": addr.String(), "podIPs": []object{{"ip": addr.String()}}, "message": fields[:1500]},
	}
}

// fields is text in place of the parts of a pod that nobody here reads.
var fields = strings.Repeat("f:spec.f:containers.k:name.f:image.", 100)
