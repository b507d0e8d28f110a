package vpcsim

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// kind is a kind of resource: how its ids begin, EC2's error code and noun for one that is missing, and its name in
// tags and ARNs.
type kind struct {
	prefix, code, noun, resource string
}

var (
	kindVPC         = kind{"vpc", "InvalidVpcID", "vpc ID", "vpc"}
	kindSubnet      = kind{"subnet", "InvalidSubnetID", "subnet ID", "subnet"}
	kindENI         = kind{"eni", "InvalidNetworkInterfaceID", "networkInterface ID", "network-interface"}
	kindAttachment  = kind{"eni-attach", "InvalidAttachmentID", "networkInterface attachment ID", ""}
	kindInstance    = kind{"i", "InvalidInstanceID", "instance ID", "instance"}
	kindGroup       = kind{"sg", "InvalidGroup", "security group", "security-group"}
	kindRule        = kind{"sgr", "InvalidSecurityGroupRuleId", "security group rule ID", "security-group-rule"}
	kindTable       = kind{"rtb", "InvalidRouteTableID", "routeTable ID", "route-table"}
	kindTableAssoc  = kind{"rtbassoc", "InvalidAssociationID", "association ID", ""}
	kindGateway     = kind{"igw", "InvalidInternetGatewayID", "internetGateway ID", "internet-gateway"}
	kindNAT         = kind{"nat", "NatGateway", "NAT gateway", "natgateway"}
	kindAllocation  = kind{"eipalloc", "InvalidAllocationID", "allocation ID", "elastic-ip"}
	kindAssociation = kind{"eipassoc", "InvalidAssociationID", "association ID", ""}
	kindBlock       = kind{"vpc-cidr-assoc", "InvalidVpcCidrBlockAssociationID", "vpc CIDR block association ID", ""}
	kindReservation = kind{"scr", "InvalidSubnetCidrReservation", "subnet CIDR reservation ID", "subnet-cidr-reservation"}
	kindTrunk       = kind{"trunk-assoc", "InvalidAssociationID", "association ID", ""}
)

// kinds are the kinds that can be tagged.
var kinds = []kind{
	kindVPC, kindSubnet, kindENI, kindInstance, kindGroup, kindRule, kindTable, kindGateway, kindNAT, kindAllocation,
	kindReservation,
}

var hexID = regexp.MustCompile(`^[0-9a-f]{8,17}$`)

// check tells whether a request's id has the right form.
func (k kind) check(id string) error {
	if id == "" {
		return ec2.Errorf("MissingParameter", "The request must contain the parameter %s", k.noun)
	}
	if rest, ok := strings.CutPrefix(id, k.prefix+"-"); !ok || !hexID.MatchString(rest) {
		code := k.code
		if k == kindGroup {
			code = "InvalidGroupId"
		}
		return ec2.Errorf(code+".Malformed", "Invalid id: %q (expecting %q)", id, k.prefix+"-...")
	}
	return nil
}

// missing is EC2's answer for an id that does not exist.
func (k kind) missing(id string) error {
	if k == kindNAT {
		return ec2.Errorf("NatGatewayNotFound", "NAT gateway %s was not found", id)
	}
	return ec2.Errorf(k.code+".NotFound", "The %s '%s' does not exist", k.noun, id)
}

// find checks an id and looks it up; an object that visible does not accept does not exist for the caller.
func find[V any](t *table[V], k kind, id string, visible func(V) bool) (V, error) {
	var none V
	if err := k.check(id); err != nil {
		return none, err
	}
	v, ok := t.get(id)
	if !ok || !visible(v) {
		return none, k.missing(id)
	}
	return v, nil
}

// kindOf tells the kind of an id that can be tagged.
func kindOf(id string) (kind, bool) {
	for _, k := range kinds {
		if k.check(id) == nil {
			return k, true
		}
	}
	return kind{}, false
}

// newID draws an id of a kind.
func (s *Sim) newID(k kind) string { return s.rawID(k.prefix) }

func (s *Sim) rawID(prefix string) string { return fmt.Sprintf("%s-0%016x", prefix, s.ids.Uint64()) }

// newMAC draws a locally administered hardware address.
func (s *Sim) newMAC() string {
	for {
		n := s.ids.Uint64()
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

// newPublic takes the first unused public address.
func (s *Sim) newPublic() (netip.Addr, error) {
	for _, pool := range publicPools {
		for a := pool.Addr().Next(); pool.Contains(a.Next()); a = a.Next() {
			if !s.publics[a] {
				s.publics[a] = true
				return a, nil
			}
		}
	}
	return netip.Addr{}, ec2.Errorf("AddressLimitExceeded", "The maximum number of addresses has been reached.")
}

// hostname is the name that EC2 gives to a private address.
func (s *Sim) hostname(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	domain := s.st.Region + ".compute.internal"
	if s.st.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + domain
}

// arn is a resource's name in policies.
func (s *Sim) arn(k kind, owner, id string) string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", s.st.Region, owner, k.resource, id)
}
