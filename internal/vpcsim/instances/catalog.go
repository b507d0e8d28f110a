package instances

import (
	"slices"
	"strconv"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// DescribeAvailabilityZones is EC2's action of that name.
func (s Actions) DescribeAvailabilityZones(_ world.Caller, in ec2.DescribeAvailabilityZonesInput) (ec2.DescribeAvailabilityZonesOutput, error) {
	var out ec2.DescribeAvailabilityZonesOutput
	all := []ec2.AvailabilityZone{}
	for _, id := range in.ZoneNames {
		if _, err := s.Zone(id, ""); err != nil {
			return out, ec2.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", id)
		}
	}
	for _, z := range s.State.Zones {
		if len(in.ZoneNames) > 0 && !slices.Contains(in.ZoneNames, string(z.Name)) ||
			len(in.ZoneIds) > 0 && !slices.Contains(in.ZoneIds, z.ID) {
			continue
		}
		all = append(all, ec2.AvailabilityZone{
			ZoneName: string(z.Name), ZoneId: z.ID, ZoneType: "availability-zone", RegionName: s.State.Region,
			GroupName: s.State.Region + "-zg-1", NetworkBorderGroup: s.State.Region, OptInStatus: "opt-in-not-required", State: "available",
		})
	}
	var err error
	out.AvailabilityZones, err = ec2.Select(all, in.Filters, zoneFields, nil)
	return out, err
}

var zoneFields = ec2.Fields[ec2.AvailabilityZone]{
	"zone-name":     func(z *ec2.AvailabilityZone) []string { return []string{z.ZoneName} },
	"zone-id":       func(z *ec2.AvailabilityZone) []string { return []string{z.ZoneId} },
	"zone-type":     func(z *ec2.AvailabilityZone) []string { return []string{z.ZoneType} },
	"region-name":   func(z *ec2.AvailabilityZone) []string { return []string{z.RegionName} },
	"group-name":    func(z *ec2.AvailabilityZone) []string { return []string{z.GroupName} },
	"opt-in-status": func(z *ec2.AvailabilityZone) []string { return []string{z.OptInStatus} },
	"state":         func(z *ec2.AvailabilityZone) []string { return []string{z.State} },
}

// DescribeRegions is EC2's action of that name.
func (s Actions) DescribeRegions(_ world.Caller, in ec2.DescribeRegionsInput) (ec2.DescribeRegionsOutput, error) {
	for _, name := range in.RegionNames {
		if name != s.State.Region {
			return ec2.DescribeRegionsOutput{}, ec2.Errorf("InvalidParameterValue", "Invalid region name: %s", name)
		}
	}
	all := []ec2.Region{{RegionName: s.State.Region, Endpoint: "ec2." + s.State.Region + ".amazonaws.com", OptInStatus: "opt-in-not-required"}}
	out, err := ec2.Select(all, in.Filters, ec2.Fields[ec2.Region]{
		"region-name":   func(r *ec2.Region) []string { return []string{r.RegionName} },
		"endpoint":      func(r *ec2.Region) []string { return []string{r.Endpoint} },
		"opt-in-status": func(r *ec2.Region) []string { return []string{r.OptInStatus} },
	}, nil)
	return ec2.DescribeRegionsOutput{Regions: out}, err
}

// listedTypes are the instance types that DescribeInstanceTypes lists when none is named; every type with published
// limits can be named.
var listedTypes = []string{
	"c5.4xlarge", "c5.large", "c5.xlarge", "c6in.32xlarge", "m4.large", "m5.24xlarge", "m5.4xlarge", "m5.large", "m5.xlarge",
	"m6a.large", "m6a.xlarge", "m6g.large", "m7g.large", "m7i.48xlarge", "p5.48xlarge", "t3.large", "t3.medium", "t3.nano",
	"t3.small", "t4g.medium",
}

// DescribeInstanceTypes is EC2's action of that name.
func (s Actions) DescribeInstanceTypes(_ world.Caller, in ec2.DescribeInstanceTypesInput) (ec2.DescribeInstanceTypesOutput, error) {
	var out ec2.DescribeInstanceTypesOutput
	names := slices.Compact(slices.Sorted(slices.Values(in.InstanceTypes)))
	if len(names) == 0 {
		names = listedTypes
	}
	all := []ec2.InstanceTypeInfo{}
	for _, name := range names {
		limits, known := vpc.Limits(name)
		if !known && len(in.InstanceTypes) > 0 {
			return out, ec2.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
		}
		if known {
			all = append(all, showType(limits))
		}
	}
	var err error
	out.InstanceTypes, err = ec2.Select(all, in.Filters, typeFields, nil)
	return out, err
}

func showType(l vpc.InstanceLimits) ec2.InstanceTypeInfo {
	out := ec2.InstanceTypeInfo{
		InstanceType: l.Type, Hypervisor: l.Hypervisor, BareMetal: l.BareMetal, CurrentGeneration: l.Nitro(),
		NetworkInfo: ec2.NetworkInfo{
			MaximumNetworkCards: max(len(l.ENIsPerCard), 1), DefaultNetworkCardIndex: l.DefaultCard,
			Ipv4AddressesPerInterface: l.IPv4PerENI, Ipv6AddressesPerInterface: l.IPv4PerENI, Ipv6Supported: true, EnaSupport: "required",
		},
	}
	if l.Hypervisor == "unknown" {
		out.Hypervisor = ""
	}
	for i, n := range l.ENIsPerCard {
		out.NetworkInfo.NetworkCards = append(out.NetworkInfo.NetworkCards, ec2.NetworkCardInfo{NetworkCardIndex: i, MaximumNetworkInterfaces: n})
		out.NetworkInfo.MaximumNetworkInterfaces += n
	}
	if len(l.ENIsPerCard) == 0 {
		out.NetworkInfo.MaximumNetworkInterfaces = l.ENIs
	}
	return out
}

var typeFields = ec2.Fields[ec2.InstanceTypeInfo]{
	"instance-type": func(t *ec2.InstanceTypeInfo) []string { return []string{t.InstanceType} },
	"hypervisor":    func(t *ec2.InstanceTypeInfo) []string { return []string{t.Hypervisor} },
	"bare-metal":    func(t *ec2.InstanceTypeInfo) []string { return []string{strconv.FormatBool(t.BareMetal)} },
}
