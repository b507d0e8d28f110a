package bench

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/kubeapi"
	"github.com/berth-net/berth/internal/testkit/rig"
)

const (
	peers     = 10_000
	workloads = 30
)

// policyPeers is a node with 30 pods, each selected by a policy of its own whose ingress allows the same 10,000 pods of other nodes by
// another port: what the kernel has for it, and how long it takes until one more is let in.
func policyPeers(t *testing.T) []row {
	r := rig.New(t, rig.Options{Type: "m5.xlarge"})
	outside, addr := r.LaunchOutside(r.Subnet)
	api := kubeapi.New()
	api.SetNode(r.Node, object{"metadata": object{"name": r.Node}, "status": object{"capacity": object{"pods": "58"}}})
	api.Set("namespaces", "default", object{"metadata": object{"name": "default"}})
	for i := range peers {
		setPeer(api, fmt.Sprint("peer-", i), netip.AddrFrom4([4]byte{10, 9, byte(i / 250), byte(i%250 + 1)}))
	}
	for i := range workloads {
		name := fmt.Sprint("workload-", i)
		api.SetPod(name, object{"app": name})
		api.Set("networkpolicies", name, object{
			"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": object{"name": name, "namespace": "default", "uid": name},
			"spec": object{
				"podSelector": object{"matchLabels": object{"app": name}}, "policyTypes": []string{"Ingress"},
				"ingress": []object{{"from": []object{{"podSelector": object{"matchLabels": object{"role": "peer"}}}}, "ports": []object{{"port": peerPort + i, "protocol": "UDP"}}}},
			},
		})
	}
	a := enforce(t, r, api, workloads)
	pods := make([]rig.Pod, workloads)
	for i := range pods {
		pods[i] = r.NewPod()
		pods[i].Name = fmt.Sprint("workload-", i)
		if c := r.Add(&pods[i]); c.Err != nil {
			t.Fatalf("ADD: %v", c.Err)
		}
	}
	last := netip.AddrFrom4([4]byte{10, 9, byte((peers - 1) / 250), byte((peers-1)%250 + 1)})
	testkit.Eventually(t, "all peers in the maps", func() bool { return letIn(t, a, workloads-1, last) })
	if letIn(t, a, 0, addr) {
		t.Fatal("who is no peer is let in")
	}
	flows, others := a.KernelMemory()
	t.Logf("kernel: %d bytes of flows, %d of all other maps and of the programs; agent: %d", flows, others, a.RSS())
	var inMaps, admitted []time.Duration
	for i := range 100 {
		more := netip.AddrFrom4([4]byte{10, 10, 0, byte(i + 1)})
		began := time.Now()
		setPeer(api, fmt.Sprint("more-", i), more)
		testkit.Eventually(t, "one more peer in the maps", func() bool { return letIn(t, a, 0, more) })
		inMaps = append(inMaps, time.Since(began))
	}
	for range 30 {
		admitted = append(admitted, admit(t, api, a, r.Fabric.Namespace(outside), addr, pods[0]))
	}
	return []row{
		{"kernel memory but the flow table: 10,000 peers, 30 workloads, one direction", float64(others) / 1e6, "MB", 95, 4, false},
		{"one more peer at 10,000, from the API server's event to the map, p50", ms(percentile(inMaps, 50)), "ms", 125, 50, false},
		{"one more peer at 10,000, from the API server's event to the map, p99", ms(percentile(inMaps, 99)), "ms", none, 50, false},
		{"new pod elsewhere at 10,000, from its address in the API to its first packet let in, p50", ms(percentile(admitted, 50)), "ms", none, 50, false},
	}
}

// peerPort is the port of the first workload.
const peerPort = 7100

// setPeer makes a pod of another node, with an address.
func setPeer(api *kubeapi.Server, name string, addr netip.Addr) {
	api.Set("pods", name, object{
		"metadata": object{"namespace": "default", "name": name, "uid": "uid-" + name, "labels": object{"role": "peer", "app": name}},
		"spec":     object{"nodeName": "elsewhere"}, "status": object{"phase": "Running", "podIP": addr.String(), "podIPs": []object{{"ip": addr.String()}}},
	})
}

// letIn asks the agent whether its maps let an address into a workload.
func letIn(t *testing.T, a *rig.Agent, workload int, addr netip.Addr) bool {
	t.Helper()
	query := url.Values{
		"namespace": {"default"}, "pod": {fmt.Sprint("workload-", workload)}, "direction": {"ingress"}, "address": {addr.String()}, "protocol": {"udp"},
		"port": {fmt.Sprint(peerPort + workload)},
	}
	var said struct{ Allowed bool }
	a.Get("/v1/policy?"+query.Encode(), &said)
	return said.Allowed
}

// admit has a pod come elsewhere whose packets are under way all the time, and go again. It returns how long the first was not let in.
func admit(t *testing.T, api *kubeapi.Server, a *rig.Agent, space string, addr netip.Addr, to rig.Pod) time.Duration {
	t.Helper()
	var server, client *net.UDPConn
	testkit.InNetns(t, to.NetNS, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: peerPort})
		return err
	})
	defer func() { _ = server.Close() }()
	testkit.InNetns(t, space, func() (err error) {
		client, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr, peerPort)))
		return err
	})
	defer func() { _ = client.Close() }()
	got := make(chan time.Time, 1)
	go func() {
		if n, _ := server.Read(make([]byte, 1)); n == 1 {
			got <- time.Now()
		}
	}()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	began := time.Time{}
	for sent := 0; ; sent++ {
		if sent == 20 { // until now none is let in
			began = time.Now()
			setPeer(api, "newcomer", addr)
		}
		if sent > 20_000 {
			t.Fatal("the new pod is not let in")
		}
		_, _ = client.Write([]byte{1})
		select {
		case at := <-got:
			if began.IsZero() {
				t.Fatal("who is no peer yet is let in")
			}
			api.Set("pods", "newcomer", nil)
			testkit.Eventually(t, "the pod that went is not let in", func() bool { return !letIn(t, a, 0, addr) })
			return at.Sub(began)
		case <-tick.C:
		}
	}
}
