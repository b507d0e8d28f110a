package instances

import (
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/interfaces"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// forgetAfter is how long a terminated instance is still described.
const forgetAfter = time.Hour

// RunInstances is EC2's action of that name.
func (s Actions) RunInstances(c world.Caller, in ec2.RunInstancesInput) (ec2.RunInstancesOutput, error) {
	var out ec2.RunInstancesOutput
	count, specs, err := s.checkRun(c, in)
	if err != nil {
		return out, err
	}
	reservation := s.RawID("r")
	var made []*world.Instance
	for index := range count {
		i, err := s.launch(c, in, specs, reservation, index)
		if err == nil {
			made = append(made, i)
			continue
		}
		s.discard(i)
		if len(made) >= *in.MinCount {
			break // as many as there is room for
		}
		for _, i := range made {
			s.discard(i)
		}
		return out, err
	}
	for _, i := range made {
		s.Schedule(s.After(s.State.Settings.LaunchInstance), world.EvRunning, i.ID, "")
	}
	return s.showReservationOf(c, made), nil
}

// checkRun checks what does not depend on what is free, and gives the count and the interfaces that are asked for.
func (s Actions) checkRun(c world.Caller, in ec2.RunInstancesInput) (int, []ec2.InstanceNetworkInterfaceSpecification, error) {
	switch {
	case in.MinCount == nil || in.MaxCount == nil:
		return 0, nil, ec2.Errorf("MissingParameter", "The request must contain the parameters MinCount and MaxCount")
	case *in.MinCount < 1 || *in.MaxCount < *in.MinCount:
		return 0, nil, ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter maxCount is invalid.", *in.MaxCount)
	case in.ImageId == "":
		return 0, nil, ec2.Errorf("MissingParameter", "The request must contain the parameter ImageId")
	case !strings.HasPrefix(in.ImageId, "ami-"):
		return 0, nil, ec2.Errorf("InvalidAMIID.Malformed", "Invalid id: %q (expecting \"ami-...\")", in.ImageId)
	}
	if _, known := vpc.Limits(in.InstanceType); !known {
		return 0, nil, ec2.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", in.InstanceType)
	}
	if in.MetadataOptions != nil {
		if err := checkOptions(*in.MetadataOptions); err != nil {
			return 0, nil, err
		}
	}
	if limit := s.State.Settings.Quotas.Instances; limit > 0 {
		live := 0
		for i := range s.State.Instances.All() {
			if i.State != world.Terminated {
				live++
			}
		}
		if live+*in.MinCount > limit {
			return 0, nil, ec2.Errorf("InstanceLimitExceeded", "You have requested more instances (%d) than your current instance limit of %d allows.",
				live+*in.MinCount, limit)
		}
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindInstance, world.KindENI, world.Kind{Resource: "volume"}); err != nil {
		return 0, nil, err
	}
	specs := slices.Clone(in.NetworkInterfaces)
	if len(specs) == 0 {
		specs = []ec2.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: new(int), SubnetId: in.SubnetId, Groups: in.SecurityGroupIds, PrivateIpAddress: in.PrivateIpAddress,
			SecondaryPrivateIpAddressCount: in.SecondaryPrivateIpAddressCount, Ipv6AddressCount: in.Ipv6AddressCount,
		}}
	} else if in.SubnetId != "" || len(in.SecurityGroupIds) > 0 || in.PrivateIpAddress != "" {
		return 0, nil, ec2.Errorf("InvalidParameterCombination",
			"Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request")
	}
	slices.SortStableFunc(specs, func(a, b ec2.InstanceNetworkInterfaceSpecification) int {
		return world.Number(a.DeviceIndex) - world.Number(b.DeviceIndex) + 1000*(world.Number(a.NetworkCardIndex)-world.Number(b.NetworkCardIndex))
	})
	if world.Number(specs[0].DeviceIndex) != 0 {
		return 0, nil, ec2.Errorf("InvalidParameterCombination", "A primary network interface with device index 0 must be specified.")
	}
	return *in.MaxCount, specs, nil
}

// launch makes one instance. On an error the instance, if any, is made in part.
func (s Actions) launch(c world.Caller, in ec2.RunInstancesInput, specs []ec2.InstanceNetworkInterfaceSpecification, reservation string, index int) (*world.Instance, error) {
	i := &world.Instance{
		ID: s.NewID(world.KindInstance), Reservation: reservation, Owner: string(c.Account), Image: in.ImageId, Type: in.InstanceType,
		Key: in.KeyName, Token: in.ClientToken, Index: index, State: world.Pending, Launched: s.State.Now,
		Options: metadataOptions(in.MetadataOptions),
	}
	if p := in.IamInstanceProfile; p != nil {
		i.Profile = p.Name
		if i.Profile == "" {
			i.Profile = p.Arn[strings.LastIndex(p.Arn, "/")+1:]
		}
	}
	for n, spec := range specs {
		e, err := s.launchENI(c, i, spec)
		if err != nil {
			return i, err
		}
		if n == 0 {
			i.VPC, i.Subnet, i.Zone = e.VPC, e.Subnet, e.Zone
			i.Name = s.instanceName(e, i.ID)
		}
		device, card := world.Number(spec.DeviceIndex), world.Number(spec.NetworkCardIndex)
		if err := s.CheckAttach(e, i, device, card); err != nil {
			if spec.NetworkInterfaceId == "" {
				s.RemoveENI(e)
			}
			return i, err
		}
		a := s.Attach(e, i, device, card)
		a.Status = string(vpc.Attached)
		a.DeleteOnTermination = spec.NetworkInterfaceId == ""
		if spec.DeleteOnTermination != nil {
			a.DeleteOnTermination = *spec.DeleteOnTermination
		}
		s.Tag(c, world.KindENI, e.ID, in.TagSpecifications)
	}
	s.State.Instances.Put(i.ID, i)
	s.Tag(c, world.KindInstance, i.ID, in.TagSpecifications)
	for _, id := range i.ENIs {
		if e, ok := s.State.ENIs.Get(id); ok {
			s.Touch(e)
		}
	}
	s.SettleMetadata(i)
	return i, nil
}

// launchENI finds or makes an interface of an instance.
func (s Actions) launchENI(c world.Caller, i *world.Instance, spec ec2.InstanceNetworkInterfaceSpecification) (*world.ENI, error) {
	if spec.NetworkInterfaceId != "" {
		e, err := s.OwnENI(c, spec.NetworkInterfaceId)
		if err == nil && e.Attachment != nil {
			err = ec2.Errorf("InvalidNetworkInterface.InUse", "Interface '%s' is currently in use.", e.ID)
		}
		return e, err
	}
	subnetID := spec.SubnetId
	if subnetID == "" && i.Subnet != "" {
		subnetID = i.Subnet
	}
	if subnetID == "" {
		return nil, ec2.Errorf("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
	}
	n, err := s.Subnet(c, subnetID)
	if err != nil {
		return nil, err
	}
	w := interfaces.Wanted{
		Subnet: n, Owner: string(c.Account), Description: spec.Description, Type: spec.InterfaceType, Groups: spec.Groups,
		Primary: spec.PrivateIpAddress, SecondaryCount: world.Number(spec.SecondaryPrivateIpAddressCount),
		PrefixCount: world.Number(spec.Ipv4PrefixCount), Count6: world.Number(spec.Ipv6AddressCount), Prefix6: world.Number(spec.Ipv6PrefixCount),
		Prefixes: world.Collect(spec.Ipv4Prefixes, func(p ec2.Ipv4PrefixSpecification) string { return p.Ipv4Prefix }),
	}
	if err := w.Name(spec.PrivateIpAddresses); err != nil {
		return nil, err
	}
	public := n.MapPublic && world.Number(spec.DeviceIndex) == 0
	if spec.AssociatePublicIpAddress != nil {
		public = *spec.AssociatePublicIpAddress
	}
	e, err := s.NewENI(w)
	if err != nil || !public {
		return e, err
	}
	if err := s.GivePublic(e); err != nil {
		s.RemoveENI(e)
		return nil, err
	}
	return e, nil
}

// instanceName is the host part of the private name, with a part of the id where another instance has it already.
func (s Actions) instanceName(e *world.ENI, id string) string {
	name, _, _ := strings.Cut(s.Hostname(e.Addresses[0]), ".")
	for other := range s.State.Instances.All() {
		if other.Name == name && other.State != world.Terminated {
			return name + "-" + id[len(id)-4:]
		}
	}
	return name
}

// discard takes a launch back.
func (s Actions) discard(i *world.Instance) {
	for _, id := range slices.Clone(i.ENIs) {
		e, ok := s.State.ENIs.Get(id)
		if !ok {
			continue
		}
		remove := e.Attachment.DeleteOnTermination
		s.Unhook(e)
		if remove {
			s.RemoveENI(e)
		} else {
			s.Touch(e)
		}
	}
	s.State.Instances.Remove(i.ID)
	s.State.Tags.Forget(i.ID)
}

func metadataOptions(in *ec2.InstanceMetadataOptions) ec2.InstanceMetadataOptions {
	hops := 1
	out := ec2.InstanceMetadataOptions{
		HttpEndpoint: "enabled", HttpTokens: "optional", HttpProtocolIpv6: "disabled", InstanceMetadataTags: "disabled",
		State: "applied", HttpPutResponseHopLimit: &hops,
	}
	if in != nil {
		mergeOptions(&out, *in)
	}
	return out
}

// checkOptions checks the options that a request gives.
func checkOptions(in ec2.InstanceMetadataOptions) error {
	for _, o := range []struct {
		name, value string
		allowed     []string
	}{
		{"HttpEndpoint", in.HttpEndpoint, []string{"enabled", "disabled"}},
		{"HttpTokens", in.HttpTokens, []string{"optional", "required"}},
		{"HttpProtocolIpv6", in.HttpProtocolIpv6, []string{"enabled", "disabled"}},
		{"InstanceMetadataTags", in.InstanceMetadataTags, []string{"enabled", "disabled"}},
	} {
		if o.value != "" && !slices.Contains(o.allowed, o.value) {
			return ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It must be %s.", o.value, o.name, strings.Join(o.allowed, " or "))
		}
	}
	if h := in.HttpPutResponseHopLimit; h != nil && (*h < 1 || *h > 64) {
		return ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and 64.", *h)
	}
	return nil
}

func mergeOptions(into *ec2.InstanceMetadataOptions, in ec2.InstanceMetadataOptions) {
	for _, f := range []struct {
		into *string
		from string
	}{
		{&into.HttpEndpoint, in.HttpEndpoint},
		{&into.HttpTokens, in.HttpTokens},
		{&into.HttpProtocolIpv6, in.HttpProtocolIpv6},
		{&into.InstanceMetadataTags, in.InstanceMetadataTags},
	} {
		if f.from != "" {
			*f.into = f.from
		}
	}
	if in.HttpPutResponseHopLimit != nil {
		hops := *in.HttpPutResponseHopLimit
		into.HttpPutResponseHopLimit = &hops
	}
}

// ModifyInstanceMetadataOptions is EC2's action of that name.
func (s Actions) ModifyInstanceMetadataOptions(c world.Caller, in ec2.ModifyInstanceMetadataOptionsInput) (ec2.ModifyInstanceMetadataOptionsOutput, error) {
	out := ec2.ModifyInstanceMetadataOptionsOutput{InstanceId: in.InstanceId}
	i, err := s.OwnInstance(c, in.InstanceId)
	if err != nil {
		return out, err
	}
	if i.State != world.Pending && i.State != world.Running {
		return out, ec2.Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which its metadata options can be modified.", i.ID)
	}
	options := ec2.InstanceMetadataOptions{
		HttpEndpoint: in.HttpEndpoint, HttpTokens: in.HttpTokens, HttpProtocolIpv6: in.HttpProtocolIpv6,
		InstanceMetadataTags: in.InstanceMetadataTags, HttpPutResponseHopLimit: in.HttpPutResponseHopLimit,
	}
	if err := checkOptions(options); err != nil {
		return out, err
	}
	mergeOptions(&i.Options, options)
	out.InstanceMetadataOptions = i.Options
	return out, nil
}

// TerminateInstances is EC2's action of that name.
func (s Actions) TerminateInstances(c world.Caller, in ec2.TerminateInstancesInput) (ec2.TerminateInstancesOutput, error) {
	var out ec2.TerminateInstancesOutput
	if len(in.InstanceIds) == 0 {
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter InstanceId")
	}
	var which []*world.Instance
	for _, id := range in.InstanceIds {
		i, err := s.OwnInstance(c, id)
		if err != nil {
			return out, err
		}
		which = append(which, i)
	}
	for _, i := range which {
		change := ec2.InstanceStateChange{InstanceId: i.ID, PreviousState: i.State}
		if i.State == world.Pending || i.State == world.Running {
			i.State = world.ShuttingDown
			s.Schedule(s.After(s.State.Settings.TerminateInstance), world.EvTerminated, i.ID, "")
		}
		change.CurrentState = i.State
		out.TerminatingInstances = append(out.TerminatingInstances, change)
	}
	return out, nil
}

// TerminateDone ends an instance: its interfaces are deleted, or detached where they outlive it.
func (s Actions) TerminateDone(id string) {
	i, ok := s.State.Instances.Get(id)
	if !ok || i.State != world.ShuttingDown {
		return
	}
	for _, eniID := range slices.Clone(i.ENIs) {
		e, ok := s.State.ENIs.Get(eniID)
		if !ok {
			continue
		}
		for _, t := range slices.Collect(s.State.Trunks.All()) {
			if t.TrunkInterfaceId == e.ID {
				s.DropTrunk(t)
			}
		}
		remove := e.Attachment.DeleteOnTermination
		s.Unhook(e)
		if remove {
			s.RemoveENI(e)
		} else {
			s.Touch(e)
		}
	}
	i.State = world.Terminated
	s.SyncMetadata(i)
	s.Schedule(forgetAfter, world.EvForget, i.ID, "")
}

// DescribeInstances is EC2's action of that name.
func (s Actions) DescribeInstances(c world.Caller, in ec2.DescribeInstancesInput) (ec2.DescribeInstancesOutput, error) {
	out := ec2.DescribeInstancesOutput{Reservations: []ec2.Reservation{}}
	all, err := world.List(&s.State.Instances, in.InstanceIds, func(id string) (*world.Instance, error) { return s.OwnInstance(c, id) },
		func(i *world.Instance) bool { return i.Owner == string(c.Account) },
		func(i *world.Instance) ec2.Instance { return s.showInstance(c, i) })
	if err != nil {
		return out, err
	}
	matching, err := ec2.Select(all, in.Filters, instanceFields, func(i *ec2.Instance) []ec2.Tag { return i.Tags })
	if err != nil {
		return out, err
	}
	byReservation := make(map[string][]*world.Instance)
	var order []string
	for _, shown := range matching {
		i, _ := s.State.Instances.Get(shown.InstanceId)
		if byReservation[i.Reservation] == nil {
			order = append(order, i.Reservation)
		}
		byReservation[i.Reservation] = append(byReservation[i.Reservation], i)
	}
	slices.Sort(order)
	for _, r := range order {
		out.Reservations = append(out.Reservations, s.showReservationOf(c, byReservation[r]))
	}
	return out, nil
}

func (s Actions) showReservationOf(c world.Caller, list []*world.Instance) ec2.Reservation {
	slices.SortFunc(list, func(a, b *world.Instance) int { return a.Index - b.Index })
	r := ec2.Reservation{ReservationId: list[0].Reservation, OwnerId: list[0].Owner}
	for _, i := range list {
		r.Instances = append(r.Instances, s.showInstance(c, i))
	}
	return r
}

func (s Actions) showInstance(c world.Caller, i *world.Instance) ec2.Instance {
	out := ec2.Instance{
		InstanceId: i.ID, ImageId: i.Image, InstanceType: i.Type, ClientToken: i.Token, KeyName: i.Key, AmiLaunchIndex: i.Index,
		Hypervisor:   "xen", // EC2 says so for Nitro too
		Architecture: Architecture(i.Type), SubnetId: i.Subnet, VpcId: i.VPC, SourceDestCheck: true,
		LaunchTime: i.Launched, State: i.State, MetadataOptions: i.Options, Tags: s.TagsOf(c, i.ID),
		Placement: ec2.Placement{AvailabilityZone: i.Zone, AvailabilityZoneId: s.ZoneID(i.Zone), Tenancy: "default"},
	}
	if i.Profile != "" {
		out.IamInstanceProfile = &ec2.IamInstanceProfile{
			Arn: "arn:aws:iam::" + i.Owner + ":instance-profile/" + i.Profile, Id: "AIPA" + strings.ToUpper(i.ID[len(i.ID)-16:]),
		}
	}
	for n, id := range i.ENIs {
		e, ok := s.State.ENIs.Get(id)
		if !ok {
			continue
		}
		v := s.View(e)
		if n == 0 {
			out.PrivateIpAddress, out.PrivateDnsName, out.Ipv6Address = v.PrivateIpAddress, v.PrivateDnsName, v.Ipv6Address
			out.SecurityGroups, out.SourceDestCheck = v.Groups, v.SourceDestCheck
			if v.Association != nil {
				out.PublicIpAddress = v.Association.PublicIp
			}
		}
		out.NetworkInterfaces = append(out.NetworkInterfaces, ec2.InstanceNetworkInterface{
			NetworkInterfaceId: v.NetworkInterfaceId, SubnetId: v.SubnetId, VpcId: v.VpcId, OwnerId: v.OwnerId,
			Description: v.Description, InterfaceType: v.InterfaceType, MacAddress: v.MacAddress,
			PrivateDnsName: v.PrivateDnsName, PrivateIpAddress: v.PrivateIpAddress, Status: v.Status,
			SourceDestCheck: v.SourceDestCheck, Attachment: v.Attachment, Association: v.Association, Groups: v.Groups,
			PrivateIpAddresses: v.PrivateIpAddresses, Ipv4Prefixes: v.Ipv4Prefixes,
			Ipv6Addresses: v.Ipv6Addresses, Ipv6Prefixes: v.Ipv6Prefixes,
		})
	}
	return out
}

// Architecture tells an instance type's: those whose family has a "g" after its generation are arm64.
func Architecture(instanceType string) string {
	family, _, _ := strings.Cut(instanceType, ".")
	if i := strings.IndexAny(family, "0123456789"); i >= 0 && strings.HasPrefix(strings.TrimLeft(family[i:], "0123456789"), "g") || family == "a1" {
		return "arm64"
	}
	return "x86_64"
}
