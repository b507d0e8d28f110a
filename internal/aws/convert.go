package aws

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/berth-net/berth/internal/core/vpc"
)

// toENI checks and translates an interface. Identity and primary address must be there, except that an efa-only
// interface has no address.
func toENI(in types.NetworkInterface) (vpc.ENI, error) {
	id := sdk.ToString(in.NetworkInterfaceId)
	if id == "" {
		return vpc.ENI{}, errors.New("an interface has no id")
	}
	e := vpc.ENI{
		ID:          vpc.ENIID(id),
		Subnet:      vpc.SubnetID(sdk.ToString(in.SubnetId)),
		VPC:         vpc.ID(sdk.ToString(in.VpcId)),
		Zone:        vpc.ZoneName(sdk.ToString(in.AvailabilityZone)),
		MAC:         strings.ToLower(sdk.ToString(in.MacAddress)),
		Description: sdk.ToString(in.Description),
		Type:        cmp.Or(string(in.InterfaceType), vpc.ENITypeInterface),
		Tags:        toTags(in.TagSet),
	}
	for _, g := range in.Groups {
		if g := sdk.ToString(g.GroupId); g != "" {
			e.Groups = append(e.Groups, vpc.SecurityGroupID(g))
		}
	}
	if err := addresses(&e, in); err != nil {
		return vpc.ENI{}, fmt.Errorf("interface %s: %w", id, err)
	}
	if in.Attachment != nil {
		a, err := toAttachment(*in.Attachment)
		if err != nil {
			return vpc.ENI{}, fmt.Errorf("interface %s: %w", id, err)
		}
		e.Attachment = a
	}
	return e, nil
}

func addresses(e *vpc.ENI, in types.NetworkInterface) error {
	for _, item := range in.PrivateIpAddresses {
		a, err := netip.ParseAddr(sdk.ToString(item.PrivateIpAddress))
		if err != nil {
			return fmt.Errorf("address: %w", err)
		}
		if sdk.ToBool(item.Primary) {
			e.Primary = a
		} else {
			e.Secondary = append(e.Secondary, a)
		}
	}
	if !e.Primary.IsValid() && sdk.ToString(in.PrivateIpAddress) != "" {
		a, err := netip.ParseAddr(*in.PrivateIpAddress)
		if err != nil {
			return fmt.Errorf("primary address: %w", err)
		}
		e.Primary = a
		e.Secondary = slices.DeleteFunc(e.Secondary, func(s netip.Addr) bool { return s == a })
	}
	if !e.Primary.IsValid() && e.Type != vpc.ENITypeEFAOnly {
		return errors.New("no primary address")
	}
	for _, item := range in.Ipv4Prefixes {
		p, err := toPrefix(item.Ipv4Prefix)
		if err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
		e.Prefixes = append(e.Prefixes, p)
	}
	return nil
}

func toAttachment(in types.NetworkInterfaceAttachment) (*vpc.Attachment, error) {
	a := &vpc.Attachment{
		ID:                  vpc.AttachmentID(sdk.ToString(in.AttachmentId)),
		Instance:            vpc.InstanceID(sdk.ToString(in.InstanceId)),
		DeviceIndex:         int(sdk.ToInt32(in.DeviceIndex)),
		NetworkCard:         int(sdk.ToInt32(in.NetworkCardIndex)),
		State:               vpc.AttachmentState(in.Status),
		DeleteOnTermination: sdk.ToBool(in.DeleteOnTermination),
	}
	switch a.State {
	case vpc.Attaching, vpc.Attached, vpc.Detaching, vpc.Detached:
	default:
		return nil, fmt.Errorf("attachment %s is in the unknown state %q", a.ID, a.State)
	}
	// Interfaces of AWS's own services are attached to no instance.
	if a.Instance != "" && (a.ID == "" || in.DeviceIndex == nil) {
		return nil, fmt.Errorf("attachment %q has no id or no device index", a.ID)
	}
	if a.State == vpc.Detached {
		return nil, nil //nolint:nilnil // no attachment is not an error
	}
	return a, nil
}

// toSubnet checks and translates a subnet. One without an IPv4 block (IPv6 only) has no CIDR.
func toSubnet(in types.Subnet) (vpc.Subnet, error) {
	id := sdk.ToString(in.SubnetId)
	if id == "" {
		return vpc.Subnet{}, errors.New("a subnet has no id")
	}
	s := vpc.Subnet{
		ID:        vpc.SubnetID(id),
		VPC:       vpc.ID(sdk.ToString(in.VpcId)),
		Zone:      vpc.ZoneName(sdk.ToString(in.AvailabilityZone)),
		Available: in.State == types.SubnetStateAvailable,
		Owner:     vpc.AccountID(sdk.ToString(in.OwnerId)),
		Tags:      toTags(in.Tags),
	}
	if block := sdk.ToString(in.CidrBlock); block != "" {
		p, err := netip.ParsePrefix(block)
		if err != nil {
			return vpc.Subnet{}, fmt.Errorf("subnet %s: block: %w", id, err)
		}
		s.CIDR = p.Masked()
		if in.AvailableIpAddressCount == nil || *in.AvailableIpAddressCount < 0 {
			return vpc.Subnet{}, fmt.Errorf("subnet %s: no count of free addresses", id)
		}
		s.Free = int(*in.AvailableIpAddressCount)
	} else if !sdk.ToBool(in.Ipv6Native) {
		return vpc.Subnet{}, fmt.Errorf("subnet %s: no block", id)
	}
	return s, nil
}

func toTags(in []types.Tag) vpc.Tags {
	tags := make(vpc.Tags, len(in))
	for _, t := range in {
		if t.Key != nil {
			tags[*t.Key] = sdk.ToString(t.Value)
		}
	}
	return tags
}

func fromTags(in vpc.Tags) []types.Tag {
	out := make([]types.Tag, 0, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		out = append(out, types.Tag{Key: sdk.String(k), Value: sdk.String(in[k])})
	}
	return out
}

func toLimits(in types.InstanceTypeInfo) (vpc.InstanceLimits, error) {
	n := in.NetworkInfo
	if n == nil || sdk.ToInt32(n.MaximumNetworkInterfaces) <= 0 || sdk.ToInt32(n.Ipv4AddressesPerInterface) <= 0 {
		return vpc.InstanceLimits{}, fmt.Errorf("instance type %s: no network limits", in.InstanceType)
	}
	l := vpc.InstanceLimits{
		Type:        string(in.InstanceType),
		ENIs:        int(*n.MaximumNetworkInterfaces),
		IPv4PerENI:  int(*n.Ipv4AddressesPerInterface),
		DefaultCard: int(sdk.ToInt32(n.DefaultNetworkCardIndex)),
		Hypervisor:  cmp.Or(string(in.Hypervisor), "unknown"),
		BareMetal:   sdk.ToBool(in.BareMetal),
	}
	cards := slices.Clone(n.NetworkCards)
	slices.SortFunc(cards, func(a, b types.NetworkCardInfo) int {
		return cmp.Compare(sdk.ToInt32(a.NetworkCardIndex), sdk.ToInt32(b.NetworkCardIndex))
	})
	for _, c := range cards {
		enis := int(sdk.ToInt32(c.MaximumNetworkInterfaces))
		l.ENIsPerCard = append(l.ENIsPerCard, enis)
		// The published tables count the interfaces of the default card only, the API those of all.
		if len(cards) > 1 && int(sdk.ToInt32(c.NetworkCardIndex)) == l.DefaultCard && enis > 0 {
			l.ENIs = enis
		}
	}
	if len(cards) == 0 {
		l.ENIsPerCard = []int{l.ENIs}
	}
	return l, nil
}
