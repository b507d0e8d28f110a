package subnet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
)

// MostGroupsPerENI is what EC2's quota of security groups for an interface can be raised to. It is 5 unless somebody did, which
// only a refusal tells.
// Source: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
const MostGroupsPerENI = 16

// TooManyGroupsError says that tags select more security groups for interfaces in a subnet than an interface can have.
// Which of them to leave out is nobody's guess: each may be the one that a pod's traffic needs, or that must not be missing.
type TooManyGroupsError struct {
	Subnet vpc.SubnetID
	Groups []vpc.SecurityGroupID // all that are selected, in order
}

// Error implements error.
func (e *TooManyGroupsError) Error() string {
	return fmt.Sprintf("select security groups for %s: %d are tagged %s for it, more than an interface can have (5 unless the account's quota is raised, %d at most): take the tag off some of %v, or limit them by tags %s<subnet-id>",
		e.Subnet, len(e.Groups), vpc.TagCNIRole, MostGroupsPerENI, e.Groups, vpc.TagGroupSubnetPrefix)
}

// Groups returns which security groups an interface in a subnet gets, in order, and why: Tagged or Primary. Out of the
// groups of the VPC, those count that are tagged kubernetes.io/role/cni with another value than 0 or none, unless tags
// cni.networking.k8s.aws/subnet/… name other subnets only, or tags cni.networking.k8s.aws/cluster/… other clusters only.
// Where none counts, the interface gets those of the primary interface, and so it does in the node's own subnet, with
// custom networking, and without discovery. More than limit, which is what EC2 is known to take, are a *TooManyGroupsError.
func Groups(r Rules, id vpc.SubnetID, groups []vpc.SecurityGroup, primary []vpc.SecurityGroupID, limit int) ([]vpc.SecurityGroupID, Why, error) {
	if !r.Discovery || r.Custom || id == r.Primary {
		return primary, Primary, nil
	}
	var selected []vpc.SecurityGroupID
	for _, g := range groups {
		role := g.Tags[vpc.TagCNIRole]
		if g.VPC == r.VPC && role != "" && role != "0" && forSubnet(g.Tags, id) && forCluster(g.Tags, r.Cluster) {
			selected = append(selected, g.ID)
		}
	}
	slices.SortFunc(selected, func(a, b vpc.SecurityGroupID) int { return cmp.Compare(a, b) })
	selected = slices.Compact(selected)
	switch {
	case len(selected) == 0:
		return primary, Primary, nil
	case len(selected) > limit:
		return nil, Tagged, &TooManyGroupsError{Subnet: id, Groups: selected}
	}
	return selected, Tagged, nil
}

// forSubnet tells whether a group may serve a subnet: no tag names one, or one names this.
func forSubnet(tags vpc.Tags, id vpc.SubnetID) bool {
	named := false
	for key := range tags {
		if name, ok := strings.CutPrefix(key, vpc.TagGroupSubnetPrefix); ok {
			if name == string(id) {
				return true
			}
			named = true
		}
	}
	return !named
}
