package bench

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/awscni"
	"github.com/berth-net/berth/internal/testkit/flow"
	"github.com/berth-net/berth/internal/testkit/rig"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

// adoption takes a node over from the Amazon VPC CNI while messages flow at a steady rate, a hundred a second in each of six
// flows, between its pods on two interfaces, another instance and the internet.
func adoption(t *testing.T) []row {
	r := rig.New(t, rig.Options{Type: "t3.medium"})
	r.Internet()
	peer, peerAddr := r.LaunchOutside(r.Subnet)
	r.Assign(r.Primary(r.Instance).NetworkInterfaceId, 4)
	r.Attach(r.CreateInterface(4, "aws-K8S-"+r.InstanceID(), map[string]string{"node.k8s.amazonaws.com/instance_id": r.InstanceID()}), 1)
	r.Settle()
	existing := r.Existing(awscni.NFTables, netip.MustParsePrefix("10.0.0.0/16"))
	if _, err := existing.Start(); err != nil {
		t.Fatal(err)
	}
	var flows []*flow.Flow
	for device := range 2 {
		p := r.NewPod()
		wired := awscni.Pod{Namespace: "default", Name: p.Name, Container: p.Container, NetNS: p.NetNS}
		existing.Add(&wired, device)
		for _, to := range []struct {
			network, space string
			addr           netip.Addr
		}{
			{"udp", r.Fabric.Namespace(peer), peerAddr}, {"tcp", r.Fabric.Namespace(peer), peerAddr}, {[]string{"udp", "tcp"}[device], r.Fabric.InternetNamespace(), fabric.EchoAddr},
		} {
			f, err := flow.Start(fmt.Sprint(p.Name, " ", to.network), to.network, p.NetNS, to.space, to.addr)
			if err != nil {
				t.Fatal(err)
			}
			flows = append(flows, f)
		}
	}
	sent := func(count int) {
		for _, f := range flows {
			end := f.Sent() + count
			testkit.Eventually(t, "flow", func() bool { return f.Sent() >= end })
		}
	}
	sent(100)
	a := r.StartAgent()
	a.Ready()
	sent(300)
	lost, all := 0, 0
	for _, f := range flows {
		result := f.End()
		lost, all = lost+result.Lost(), all+result.Sent
		if result.Err != nil || result.Seen != 1 {
			t.Errorf("flow %s: %+v", f.Name, result)
		}
	}
	t.Logf("adoption: %d messages sent, %d lost", all, lost)
	a.Stop()
	return []row{{"adoption under a steady TCP and UDP flow: packets lost", float64(lost), "", none, 0, false}}
}
