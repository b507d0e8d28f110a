// Package subnet knows which subnets a node may take pod addresses from, in which order, and why another is refused; which
// security groups interfaces there get; and, where somebody reads a subnet's interfaces, which of its addresses and prefixes
// are free and which to name.
//
// It decides on values: the subnets as EC2 describes them with the tags of the caller's account. Free addresses are
// counted in addresses; a subnet that EC2 called full stays full here until a later read says otherwise.
package subnet

import (
	"cmp"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Rules is what decides about a subnet, apart from the subnet itself.
type Rules struct {
	VPC     vpc.ID
	Zone    vpc.ZoneName
	Primary vpc.SubnetID // the subnet of the node's primary interface
	Cluster string       // CLUSTER_NAME, may be empty
	// Discovery is ENABLE_SUBNET_DISCOVERY; without it only the primary subnet is used.
	Discovery bool
	// Custom: custom networking names the one subnet, and tags do not count. CustomSubnet is empty while it is not known.
	Custom       bool
	CustomSubnet vpc.SubnetID
}

// Why says how a subnet was judged. The same words go to logs, events, metrics and the CLI.
type Why string

// The judgements. Usable subnets are Tagged, Primary or Configured.
const (
	Tagged       Why = "tagged"        // tagged kubernetes.io/role/cni for this cluster
	Primary      Why = "primary"       // the node's own subnet
	Excluded     Why = "excluded"      // tagged kubernetes.io/role/cni=0
	OtherCluster Why = "other-cluster" // tagged for other clusters only
	Untagged     Why = "untagged"      // neither tagged nor the node's own
	Elsewhere    Why = "elsewhere"     // another VPC or zone
	Unavailable  Why = "unavailable"   // pending or failed
	DiscoveryOff Why = "discovery-off" // not the node's own, and discovery is off
	Configured   Why = "configured"    // the one that custom networking names
	Unconfigured Why = "unconfigured"  // custom networking names another one
)

// Judge tells whether new interfaces and addresses may come from s, and why.
//
// The rules are those of the existing CNI: tag kubernetes.io/role/cni=0 excludes, also the primary subnet; no tag, or an
// empty one, leaves the primary subnet usable and no other; any other value includes the subnet unless it carries tags
// cni.networking.k8s.aws/cluster/… for other clusters only.
func Judge(r Rules, s vpc.Subnet) (usable bool, why Why) {
	primary := s.ID == r.Primary
	switch {
	case s.VPC != r.VPC || s.Zone != r.Zone:
		return false, Elsewhere
	case !s.Available:
		return false, Unavailable
	case r.Custom && s.ID != r.CustomSubnet:
		return false, Unconfigured
	case r.Custom:
		return true, Configured
	case !r.Discovery && !primary:
		return false, DiscoveryOff
	case !r.Discovery:
		return true, Primary
	}
	switch role := s.Tags[vpc.TagCNIRole]; {
	case role == "0":
		return false, Excluded
	case role == "" && primary:
		return true, Primary
	case role == "":
		return false, Untagged
	case !forCluster(s.Tags, r.Cluster):
		return false, OtherCluster
	}
	return true, Tagged
}

// Barred tells whether interfaces that already lie in s must give no address to another pod: the subnet was excluded, given to
// other clusters, or custom networking names another one. A subnet that merely lost its tag is not barred: its interfaces
// serve on, and do not grow.
func Barred(r Rules, s vpc.Subnet) bool {
	_, why := Judge(r, s)
	return why == Excluded || why == OtherCluster || why == Unconfigured && r.CustomSubnet != ""
}

func forCluster(tags vpc.Tags, cluster string) bool {
	if cluster == "" {
		return true
	}
	named := false
	for key := range tags {
		name, ok := strings.CutPrefix(key, vpc.TagCNIClusterPrefix)
		if !ok {
			continue
		}
		if name == cluster {
			return true
		}
		named = true
	}
	return !named
}

// Order returns the usable subnets, most room first; equal room is ordered by id, so that a plan is deterministic.
func Order(r Rules, subnets []vpc.Subnet) []vpc.Subnet {
	var usable []vpc.Subnet
	for _, s := range subnets {
		if ok, _ := Judge(r, s); ok {
			usable = append(usable, s)
		}
	}
	slices.SortFunc(usable, func(a, b vpc.Subnet) int {
		return cmp.Or(cmp.Compare(b.Free, a.Free), cmp.Compare(a.ID, b.ID))
	})
	return usable
}
