package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/kubeapi"
	"github.com/berth-net/berth/internal/testkit/rig"
)

const policies = 1000

// policyAdds is what network policy adds to a warm ADD: two nodes side by side, one without policy and one with a thousand, by turns.
// Each pod is the first of its workload, and a policy of its own selects it.
func policyAdds(t *testing.T) []row {
	bare, _ := warm(t, "0")
	policed := policedRig(t)
	var without, with []time.Duration
	for i := range 200 {
		without = append(without, addAndDelete(t, bare, bare.NewPod()))
		p := policed.NewPod()
		p.Name = fmt.Sprint("first-", i)
		with = append(with, addAndDelete(t, policed, p))
	}
	base := percentile(without, 50)
	return []row{
		{"policy part of ADD, first pod of a workload, p50", ms(percentile(with, 50) - base), "ms", 486, 5, false},
		{"policy part of ADD, first pod of a workload, p99", ms(percentile(with, 99) - base), "ms", 543, 20, false},
	}
}

type object = kubeapi.Object

// policedRig is a rig with a filled pool whose API server has the policies, and a pod for each.
func policedRig(t *testing.T) *rig.Rig {
	t.Helper()
	r := rig.New(t, rig.Options{})
	api := manyPolicies(r)
	enforce(t, r, api, 27)
	return r
}

// manyPolicies is an API server that has them.
func manyPolicies(r *rig.Rig) *kubeapi.Server {
	api := kubeapi.New()
	api.SetNode(r.Node, object{"metadata": object{"name": r.Node}, "status": object{"capacity": object{"pods": "58"}}})
	api.Set("namespaces", "default", object{"metadata": object{"name": "default"}})
	for i := range policies {
		name := fmt.Sprint("first-", i)
		api.SetPod(name, object{"app": name})
		api.Set("networkpolicies", name, object{
			"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": object{"name": name, "namespace": "default", "uid": name},
			"spec": object{
				"podSelector": object{"matchLabels": object{"app": name}}, "policyTypes": []string{"Ingress", "Egress"},
				"ingress": []object{{"from": []object{{"podSelector": object{"matchLabels": object{"app": fmt.Sprint("first-", (i+1)%policies)}}}}, "ports": []object{{"port": 80}}}},
				"egress":  []object{{"to": []object{{"ipBlock": object{"cidr": fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250)}}}}},
			},
		})
	}
	return api
}

// enforce starts an agent that enforces what an API server has, and waits until it has so many free addresses.
func enforce(t *testing.T, r *rig.Rig, api *kubeapi.Server, addresses int) *rig.Agent {
	t.Helper()
	api.Listen(t, r.Fabric.Namespace(r.Instance))
	kubeconfig := filepath.Join(r.Dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(kubeapi.Kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	a := r.StartAgent(fmt.Sprint("MINIMUM_IP_TARGET=", addresses), "WARM_IP_TARGET=1", "IP_COOLDOWN_PERIOD=0", "KUBECONFIG="+kubeconfig, "ENABLE_NETWORK_POLICY=true")
	a.Ready()
	testkit.Eventually(t, "free addresses", func() bool { return tally(a).Free >= addresses })
	return a
}

func addAndDelete(t *testing.T, r *rig.Rig, p rig.Pod) time.Duration {
	t.Helper()
	c := r.Add(&p)
	if c.Err != nil {
		t.Fatalf("ADD: %v", c.Err)
	}
	if d := r.Plugin("DEL", p); d.Err != nil {
		t.Fatalf("DEL: %v", d.Err)
	}
	return c.Elapsed
}
