package world

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Kind is a kind of resource: how its ids begin, EC2's error code and noun for one that is missing, its name in tags and
// ARNs, and the parameter of a request that names one.
type Kind struct {
	prefix, code, noun, Resource, parameter string
}

// The kinds of resources.
var (
	KindVPC         = Kind{"vpc", "InvalidVpcID", "vpc ID", "vpc", "vpcId"}
	KindSubnet      = Kind{"subnet", "InvalidSubnetID", "subnet ID", "subnet", "subnetId"}
	KindENI         = Kind{"eni", "InvalidNetworkInterfaceID", "networkInterface ID", "network-interface", "networkInterfaceId"}
	KindAttachment  = Kind{"eni-attach", "InvalidAttachmentID", "networkInterface attachment ID", "", "attachmentId"}
	KindInstance    = Kind{"i", "InvalidInstanceID", "instance ID", "instance", "instanceId"}
	KindGroup       = Kind{"sg", "InvalidGroup", "security group", "security-group", "groupId"}
	KindRule        = Kind{"sgr", "InvalidSecurityGroupRuleId", "security group rule ID", "security-group-rule", "securityGroupRuleId"}
	KindTable       = Kind{"rtb", "InvalidRouteTableID", "routeTable ID", "route-table", "routeTableId"}
	KindTableAssoc  = Kind{"rtbassoc", "InvalidAssociationID", "association ID", "", "associationId"}
	KindGateway     = Kind{"igw", "InvalidInternetGatewayID", "internetGateway ID", "internet-gateway", "internetGatewayId"}
	KindNAT         = Kind{"nat", "NatGateway", "NAT gateway", "natgateway", "natGatewayId"}
	KindAllocation  = Kind{"eipalloc", "InvalidAllocationID", "allocation ID", "elastic-ip", "allocationId"}
	KindAssociation = Kind{"eipassoc", "InvalidAssociationID", "association ID", "", "associationId"}
	KindBlock       = Kind{"vpc-cidr-assoc", "InvalidVpcCidrBlockAssociationID", "vpc CIDR block association ID", "", "associationId"}
	KindReservation = Kind{"scr", "InvalidSubnetCidrReservation", "subnet CIDR reservation ID", "subnet-cidr-reservation", "subnetCidrReservationId"}
	KindTrunk       = Kind{"trunk-assoc", "InvalidAssociationID", "association ID", "", "associationId"}
)

// kinds are the kinds that can be tagged.
var kinds = []Kind{
	KindVPC, KindSubnet, KindENI, KindInstance, KindGroup, KindRule, KindTable, KindGateway, KindNAT, KindAllocation,
	KindReservation,
}

var hexID = regexp.MustCompile(`^[0-9a-f]{8,17}$`)

// Check tells whether a request's id has the right form.
func (k Kind) Check(id string) error {
	if id == "" {
		return ec2.Errorf("MissingParameter", "The request must contain the parameter %s", k.parameter)
	}
	if rest, ok := strings.CutPrefix(id, k.prefix+"-"); !ok || !hexID.MatchString(rest) {
		code := k.code
		if k == KindGroup {
			code = "InvalidGroupId"
		}
		return ec2.Errorf(code+".Malformed", "Invalid id: %q (expecting %q)", id, k.prefix+"-...")
	}
	return nil
}

// Missing is EC2's answer for an id that does not exist.
func (k Kind) Missing(id string) error {
	if k == KindNAT {
		return ec2.Errorf("NatGatewayNotFound", "NAT gateway %s was not found", id)
	}
	return ec2.Errorf(k.code+".NotFound", "The %s '%s' does not exist", k.noun, id)
}

// Find checks an id and looks it up; an object that visible does not accept does not exist for the caller.
func Find[V any](t *table[V], k Kind, id string, visible func(V) bool) (V, error) {
	var none V
	if err := k.Check(id); err != nil {
		return none, err
	}
	v, ok := t.Get(id)
	if !ok || !visible(v) {
		return none, k.Missing(id)
	}
	return v, nil
}

// KindOf tells the kind of an id that can be tagged.
func KindOf(id string) (Kind, bool) {
	for _, k := range kinds {
		if k.Check(id) == nil {
			return k, true
		}
	}
	return Kind{}, false
}

// NewID draws an id of a kind.
func (s *World) NewID(k Kind) string { return s.RawID(k.prefix) }

// RawID draws an id with a prefix.
func (s *World) RawID(prefix string) string { return fmt.Sprintf("%s-0%016x", prefix, s.IDs.Uint64()) }

// NewMAC draws a locally administered hardware address.
func (s *World) NewMAC() string {
	for {
		n := s.IDs.Uint64()
		mac := fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32))
		if !s.macs[mac] {
			s.macs[mac] = true
			return mac
		}
	}
}

// publicPools are where public addresses come from: ranges for documentation, then the one for benchmarks.
var publicPools = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("198.18.0.0/16"),
}

// NewPublic takes the first unused public address.
func (s *World) NewPublic() (netip.Addr, error) {
	for _, pool := range publicPools {
		for a := pool.Addr().Next(); pool.Contains(a.Next()); a = a.Next() {
			if !s.Publics[a] {
				s.Publics[a] = true
				return a, nil
			}
		}
	}
	return netip.Addr{}, ec2.Errorf("AddressLimitExceeded", "The maximum number of addresses has been reached.")
}

// Hostname is the name that EC2 gives to a private address.
func (s *World) Hostname(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	domain := s.State.Region + ".compute.internal"
	if s.State.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + domain
}

// ARN is a resource's name in policies.
func (s *World) ARN(k Kind, owner, id string) string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", s.State.Region, owner, k.Resource, id)
}
