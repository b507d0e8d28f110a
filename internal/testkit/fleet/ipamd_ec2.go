package fleet

import (
	"cmp"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// The AWS SDK for Go v2 as the existing CNI uses it: three attempts, a random back-off that doubles up to 20 s, and a quota
// of retries for the whole client.
const (
	sdkAttempts   = 3
	sdkMaxBackoff = 20 * time.Second
	sdkQuota      = 500
	sdkRetryCost  = 5
)

// sdk is the EC2 client of one ipamd.
type sdk struct {
	a     *ipamd
	spent int // of the quota
}

// seenENI is an interface as EC2 or the metadata service shows it.
type seenENI struct {
	id     vpc.ENIID
	tagged bool
	blocks []netip.Prefix
	attach string
}

func isInsufficient(err error) bool {
	return isCode(err, "InsufficientCidrBlocks", "InsufficientFreeAddressesInSubnet")
}
func isLimit(err error) bool { return isCode(err, "PrivateIpAddressLimitExceeded") }

func isCode(err error, codes ...string) bool {
	e, ok := errors.AsType[*vpcsim.APIError](err)
	return ok && slices.Contains(codes, e.Code)
}

// do makes a call with the SDK's attempts.
func (s *sdk) do(p *process, action string, effect func(vpcsim.Caller) error) error {
	caller := vpcsim.Caller{Source: s.a.n.cluster.Name}
	var err error
	for attempt := 1; ; attempt++ {
		adm := s.a.r.Sim.Admit(caller, vpcsim.Request{Action: action})
		p.sleep(adm.Before)
		if adm.Err == nil {
			err = effect(caller)
			p.sleep(adm.After)
			if attempt == 1 {
				s.spent = max(s.spent-1, 0)
			} else if err == nil {
				s.spent = max(s.spent-sdkRetryCost, 0)
			}
			return err
		}
		err = adm.Err
		if attempt == sdkAttempts || s.spent+sdkRetryCost > sdkQuota {
			return err
		}
		s.spent += sdkRetryCost
		backoff := time.Duration(s.a.rng.Float64() * math.Exp2(float64(attempt)) * float64(time.Second))
		p.sleep(min(backoff, sdkMaxBackoff))
	}
}

// describeAll is the walk of the metadata service and the one describe of a start.
func (a *ipamd) describeAll(p *process) ([]seenENI, error) {
	var err error
	for try := range 12 {
		p.sleep(time.Duration(try) * 10 * time.Millisecond)
		var seen []seenENI
		if seen, err = a.client.interfaces(p, a.attachedIDs()...); err == nil {
			return seen, nil
		}
	}
	return nil, err
}

func (s *sdk) interfaces(p *process, ids ...vpc.ENIID) (seen []seenENI, err error) {
	err = s.do(p, "DescribeNetworkInterfaces", func(vpcsim.Caller) error {
		seen = s.a.truth(ids...)
		s.a.r.Sim.CountCall("DescribeNetworkInterfaces", s.a.n.cluster.Name, "ok")
		return nil
	})
	return seen, err
}

func (s *sdk) attachment(p *process, id vpc.ENIID) (string, error) {
	seen, err := s.interfaces(p, id)
	if err == nil && len(seen) == 0 {
		err = errTooMany
	}
	if err != nil {
		return "", err
	}
	return seen[0].attach, nil
}

// truth is what EC2 has of interfaces.
func (a *ipamd) truth(ids ...vpc.ENIID) []seenENI {
	var seen []seenENI
	for _, id := range ids {
		out, err := a.r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{string(id)}})
		if err != nil {
			continue
		}
		for _, e := range out.NetworkInterfaces {
			one := seenENI{id: vpc.ENIID(e.NetworkInterfaceId)}
			for _, t := range e.TagSet {
				one.tagged = one.tagged || t.Key == vpc.TagENIInstance
			}
			if e.Attachment != nil {
				one.attach = e.Attachment.AttachmentId
			}
			for _, ip := range e.PrivateIpAddresses {
				if !ip.Primary {
					one.blocks = append(one.blocks, netip.PrefixFrom(netip.MustParseAddr(ip.PrivateIpAddress), 32))
				}
			}
			for _, b := range e.Ipv4Prefixes {
				one.blocks = append(one.blocks, netip.MustParsePrefix(b.Ipv4Prefix))
			}
			seen = append(seen, one)
		}
	}
	return seen
}

// attachedIDs are the interfaces of the instance, as a walk of the metadata service finds them.
func (a *ipamd) attachedIDs() []vpc.ENIID {
	out, err := a.r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2.Filter{{Name: "attachment.instance-id", Values: []string{string(a.n.id)}}},
	})
	must(err)
	slices.SortFunc(out.NetworkInterfaces, func(x, y ec2.NetworkInterface) int {
		return cmp.Or(cmp.Compare(x.Attachment.DeviceIndex, y.Attachment.DeviceIndex), cmp.Compare(x.NetworkInterfaceId, y.NetworkInterfaceId))
	})
	var ids []vpc.ENIID
	for _, e := range out.NetworkInterfaces {
		ids = append(ids, vpc.ENIID(e.NetworkInterfaceId))
	}
	return ids
}

// subnets are those that may be used for new interfaces, most free addresses first.
func (s *sdk) subnets(p *process) (usable []vpc.SubnetID, err error) {
	err = s.do(p, "DescribeSubnets", func(c vpcsim.Caller) error {
		out, err := s.a.r.Sim.DescribeSubnets(c, ec2.DescribeSubnetsInput{Filters: []ec2.Filter{
			{Name: "vpc-id", Values: []string{s.a.r.vpc}}, {Name: "availability-zone", Values: []string{string(s.a.n.zone)}},
		}})
		slices.SortStableFunc(out.Subnets, func(x, y ec2.Subnet) int { return cmp.Compare(y.AvailableIpAddressCount, x.AvailableIpAddressCount) })
		for _, sn := range out.Subnets {
			role := ""
			for _, t := range sn.Tags {
				if t.Key == vpc.TagCNIRole {
					role = t.Value
				}
			}
			if role != "0" && (role != "" || sn.SubnetId == string(s.a.n.subnet)) {
				usable = append(usable, vpc.SubnetID(sn.SubnetId))
			}
		}
		return err
	})
	return usable, err
}

func (s *sdk) tag(p *process, id vpc.ENIID) error {
	return s.do(p, "CreateTags", func(c vpcsim.Caller) error {
		_, err := s.a.r.Sim.CreateTags(c, ec2.CreateTagsInput{Resources: []string{string(id)}, Tags: s.tags()})
		return err
	})
}

func (s *sdk) tags() []ec2.Tag {
	return []ec2.Tag{{Key: vpc.TagENICluster, Value: s.a.n.cluster.Name}, {Key: vpc.TagENIInstance, Value: string(s.a.n.id)}}
}

// setGroups writes the security groups of an interface, which are what they were.
func (s *sdk) setGroups(p *process, id vpc.ENIID) error {
	return s.do(p, "ModifyNetworkInterfaceAttribute", func(c vpcsim.Caller) error {
		out, err := s.a.r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{string(id)}})
		if err != nil {
			return err
		}
		in := ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: string(id)}
		for _, g := range out.NetworkInterfaces[0].Groups {
			in.Groups = append(in.Groups, g.GroupId)
		}
		_, err = s.a.r.Sim.ModifyNetworkInterfaceAttribute(c, in)
		return err
	})
}

func (s *sdk) deleteOnTermination(p *process, id vpc.ENIID, attachment string) error {
	return s.do(p, "ModifyNetworkInterfaceAttribute", func(c vpcsim.Caller) error {
		yes := true
		_, err := s.a.r.Sim.ModifyNetworkInterfaceAttribute(c, ec2.ModifyNetworkInterfaceAttributeInput{
			NetworkInterfaceId: string(id), Attachment: &ec2.NetworkInterfaceAttachmentChanges{AttachmentId: attachment, DeleteOnTermination: &yes},
		})
		return err
	})
}

func (s *sdk) assign(p *process, id vpc.ENIID, n int) (blocks []netip.Prefix, err error) {
	err = s.do(p, "AssignPrivateIpAddresses", func(c vpcsim.Caller) error {
		in := ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: string(id), SecondaryPrivateIpAddressCount: &n}
		if s.a.prefixMode() {
			in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = nil, &n
		}
		out, err := s.a.r.Sim.AssignPrivateIpAddresses(c, in)
		for _, ip := range out.AssignedPrivateIpAddresses {
			blocks = append(blocks, netip.PrefixFrom(netip.MustParseAddr(ip.PrivateIpAddress), 32))
		}
		for _, b := range out.AssignedIpv4Prefixes {
			blocks = append(blocks, netip.MustParsePrefix(b.Ipv4Prefix))
		}
		if err == nil {
			s.a.r.gains(s.a.n, id, addressesOf(blocks))
		}
		return err
	})
	return blocks, err
}

func addressesOf(blocks []netip.Prefix) int {
	n := 0
	for _, b := range blocks {
		n += 1 << (32 - b.Bits())
	}
	return n
}

func (s *sdk) unassign(p *process, id vpc.ENIID, blocks []netip.Prefix) error {
	return s.do(p, "UnassignPrivateIpAddresses", func(c vpcsim.Caller) error {
		s.a.r.frees("the existing CNI's unassignment", blocks...)
		in := ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: string(id)}
		for _, b := range blocks {
			if b.IsSingleIP() {
				in.PrivateIpAddresses = append(in.PrivateIpAddresses, b.Addr().String())
			} else {
				in.Ipv4Prefixes = append(in.Ipv4Prefixes, b.String())
			}
		}
		_, err := s.a.r.Sim.UnassignPrivateIpAddresses(c, in)
		if err == nil {
			s.a.r.gains(s.a.n, id, -addressesOf(blocks))
		}
		return err
	})
}

func (s *sdk) create(p *process, sn vpc.SubnetID, n int) (id vpc.ENIID, err error) {
	err = s.do(p, "CreateNetworkInterface", func(c vpcsim.Caller) error {
		in := ec2.CreateNetworkInterfaceInput{
			SubnetId: string(sn), Description: vpc.ENIDescriptionPrefix + string(s.a.n.id), SecondaryPrivateIpAddressCount: &n,
			TagSpecifications: []ec2.TagSpecification{{ResourceType: "network-interface", Tags: append(s.tags(), ec2.Tag{
				Key: vpc.TagENICreatedAt, Value: s.a.r.Now().UTC().Format(time.RFC3339),
			})}},
		}
		if s.a.prefixMode() {
			in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = nil, &n
		}
		out, err := s.a.r.Sim.CreateNetworkInterface(c, in)
		if err == nil {
			id = vpc.ENIID(out.NetworkInterface.NetworkInterfaceId)
			s.a.r.creates(s.a.n, id)
			size := 1
			if s.a.prefixMode() {
				size = vpc.PrefixSize
			}
			s.a.r.gains(s.a.n, id, n*size)
		}
		return err
	})
	return id, err
}

// freeDevice is the lowest free device index.
func (s *sdk) freeDevice(p *process) (device int, err error) {
	err = s.do(p, "DescribeInstances", func(vpcsim.Caller) error {
		taken := make(map[int]bool)
		out, err := s.a.r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{
			Filters: []ec2.Filter{{Name: "attachment.instance-id", Values: []string{string(s.a.n.id)}}},
		})
		for _, e := range out.NetworkInterfaces {
			taken[e.Attachment.DeviceIndex] = true
		}
		device = 1
		for taken[device] {
			device++
		}
		s.a.r.Sim.CountCall("DescribeInstances", s.a.n.cluster.Name, "ok")
		return err
	})
	return device, err
}

func (s *sdk) attach(p *process, id vpc.ENIID, device int) (attachment string, err error) {
	err = s.do(p, "AttachNetworkInterface", func(c vpcsim.Caller) error {
		out, err := s.a.r.Sim.AttachNetworkInterface(c, ec2.AttachNetworkInterfaceInput{
			NetworkInterfaceId: string(id), InstanceId: string(s.a.n.id), DeviceIndex: &device,
		})
		attachment = out.AttachmentId
		if err == nil {
			s.a.r.attached(id)
		}
		return err
	})
	return attachment, err
}

func (s *sdk) detach(p *process, id vpc.ENIID, attachment string) error {
	return s.do(p, "DetachNetworkInterface", func(c vpcsim.Caller) error {
		s.a.r.detaches("the existing CNI's detachment", id)
		_, err := s.a.r.Sim.DetachNetworkInterface(c, ec2.DetachNetworkInterfaceInput{AttachmentId: attachment})
		return err
	})
}

func (s *sdk) remove(p *process, id vpc.ENIID) error {
	err := s.do(p, "DeleteNetworkInterface", func(c vpcsim.Caller) error {
		_, err := s.a.r.Sim.DeleteNetworkInterface(c, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: string(id)})
		if err == nil { // EC2 refuses to delete one that is attached
			s.a.r.detaches("the existing CNI's deletion", id)
			s.a.r.gone(id)
		}
		return err
	})
	if isCode(err, "InvalidNetworkInterfaceID.NotFound") {
		return nil
	}
	return err
}

// cleanLeaked deletes unattached interfaces with our cluster's tags that are older than five minutes.
func (a *ipamd) cleanLeaked(p *process) {
	var leaked []vpc.ENIID
	err := a.client.do(p, "DescribeNetworkInterfaces", func(c vpcsim.Caller) error {
		ids := a.r.leakable(a.n)
		a.r.Sim.CountCall("DescribeNetworkInterfaces", c.Source, "ok")
		if len(ids) == 0 {
			return nil
		}
		in := ec2.DescribeNetworkInterfacesInput{Filters: []ec2.Filter{{Name: "status", Values: []string{"available"}}}}
		for _, id := range ids {
			in.NetworkInterfaceIds = append(in.NetworkInterfaceIds, string(id))
		}
		out, err := a.r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, in)
		for _, e := range out.NetworkInterfaces {
			for _, t := range e.TagSet {
				if at, err := time.Parse(time.RFC3339, t.Value); t.Key == vpc.TagENICreatedAt && err == nil && a.r.Now().Sub(at) > 5*time.Minute {
					leaked = append(leaked, vpc.ENIID(e.NetworkInterfaceId))
				}
			}
		}
		return err
	})
	if err != nil {
		return
	}
	for _, id := range leaked {
		_ = a.client.remove(p, id)
	}
}
