package node_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// watchedHost remembers when a comparison first knew a block of the VPC.
type watchedHost struct {
	*memoryHost
	watched sync.Mutex
	since   map[netip.Prefix]time.Time
}

func (h *watchedHost) Reconcile(ctx context.Context, cfg hostnet.Config) ([]string, []hostnet.Seen, error) {
	h.watched.Lock()
	defer h.watched.Unlock()
	for _, b := range cfg.VPCCIDRs {
		if _, known := h.since[b]; !known {
			h.since[b] = time.Now()
		}
	}
	return h.memoryHost.Reconcile(ctx, cfg)
}

// A block is associated with the VPC: what pods send there is not translated for long, whether the node looks for a subnet or not.
func TestNewBlockOfTheVPCReachesTheHostSoon(t *testing.T) {
	for name, pods := range map[string][]string{"idle": nil, "while a pod waits": names("p", 10)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, "10.0.0.0/28")
				host := &watchedHost{memoryHost: h.host, since: map[netip.Prefix]time.Time{}}
				h.ports.Host = host
				h.start()
				defer h.close()
				var adds sync.WaitGroup
				adds.Go(func() { h.addAll(pods...) })
				defer adds.Wait()
				<-time.After(5 * time.Second) // the pods have waited for a while
				vpcID := h.sim.Topology().Interfaces[0].VPC
				if _, err := h.sim.AssociateVpcCidrBlock(vpcsim.Caller{}, ec2.AssociateVpcCidrBlockInput{VpcId: string(vpcID), CidrBlock: "10.1.0.0/16"}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				block := netip.MustParsePrefix("10.1.0.0/16")
				<-time.After(time.Minute)
				host.watched.Lock()
				defer host.watched.Unlock()
				if since, known := host.since[block]; !known || since.Sub(began) > 12*time.Second {
					t.Errorf("after %s, known %t", since.Sub(began), known)
				}
			})
		})
	}
}
