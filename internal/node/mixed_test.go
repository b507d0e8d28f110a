package node_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// What follows is a cluster in which the Amazon VPC CNI runs on other nodes: each leaves the other's interfaces alone.

// available are the interfaces that nobody uses, as EC2 lists them.
func (h *house) available() []ec2.NetworkInterface {
	h.t.Helper()
	out, err := h.sim.DescribeNetworkInterfaces(vpcsim.Caller{}, ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2.Filter{{Name: "status", Values: []string{"available"}}, {Name: "tag-key", Values: []string{"node.k8s.amazonaws.com/instance_id"}}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.NetworkInterfaces
}

// theyWouldDelete tells what the Amazon VPC CNI's hourly clean-up does with an available interface: it deletes those of its
// description that are older than five minutes, or whose time it cannot read.
func theyWouldDelete(e ec2.NetworkInterface, now time.Time) bool {
	for _, tag := range e.TagSet {
		if tag.Key == "node.k8s.amazonaws.com/createdAt" && strings.HasPrefix(e.Description, "aws-K8S-") {
			at, err := time.Parse(time.RFC3339, tag.Value)
			return err != nil || now.Sub(at) > 5*time.Minute
		}
	}
	return false // it gets a time now, and is looked at again in an hour
}

func TestInterfaceThatAnotherNodesExistingCNIHasJustMadeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		<-h.node.Ready()
		subnet := string(h.report().Instance.Subnet)
		sydney := time.FixedZone("AEST", 10*3600) // it writes the node's local time
		for range 75 {                            // more than the hour between two searches
			out, err := h.sim.CreateNetworkInterface(vpcsim.Caller{}, ec2.CreateNetworkInterfaceInput{
				SubnetId: subnet, Description: "aws-K8S-i-0other",
				TagSpecifications: []ec2.TagSpecification{{ResourceType: "network-interface", Tags: []ec2.Tag{
					{Key: "node.k8s.amazonaws.com/instance_id", Value: "i-0other"},
					{Key: "node.k8s.amazonaws.com/createdAt", Value: time.Now().In(sydney).Format(time.RFC3339)},
					{Key: "eks:eni:owner", Value: "amazon-vpc-cni"},
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			id := out.NetworkInterface.NetworkInterfaceId
			<-time.After(4*time.Minute + 50*time.Second)
			if _, err := h.sim.DeleteNetworkInterface(vpcsim.Caller{}, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id}); err != nil {
				t.Fatalf("after less than five minutes: %v", err)
			}
		}
	})
}

// slowAttach attaches after the longest time that was seen in production.
type slowAttach struct {
	node.Cloud
}

func (c slowAttach) AttachENI(ctx context.Context, req node.AttachENI) (vpc.AttachmentID, error) {
	select {
	case <-time.After(28 * time.Second): // the loop gives up after 30 s, and tries again
	case <-ctx.Done():
	}
	return c.Cloud.AttachENI(ctx, req)
}

func TestInterfaceThatWeHaveJustMadeIsNoneThatTheExistingCNIOfAnotherNodeDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.ports.Cloud = slowAttach{h.cloud}
		h.start()
		defer h.close()
		<-h.node.Ready()
		h.addAll(names("p", 12)...) // more than one interface holds: some give up before the next is attached
		seen := 0
		for range 600 {
			<-time.After(time.Second)
			for _, e := range h.available() {
				seen++
				if theyWouldDelete(e, time.Now()) {
					t.Fatalf("it would delete %s with %+v", e.NetworkInterfaceId, e.TagSet)
				}
				if e.TagSet == nil || !strings.HasPrefix(e.Description, "aws-K8S-") {
					t.Errorf("%s is not known as a CNI's: %q %+v", e.NetworkInterfaceId, e.Description, e.TagSet)
				}
			}
		}
		if seen == 0 {
			t.Error("the test is wrong: no interface was ever available")
		}
	})
}
