package instances

import (
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// ofInterfaces makes a filter field out of one about an instance's interfaces.
func ofInterfaces(of func(ec2.InstanceNetworkInterface) string) func(*ec2.Instance) []string {
	return func(i *ec2.Instance) []string { return world.Collect(i.NetworkInterfaces, of) }
}

// ofAttachments is ofInterfaces for what their attachments say.
func ofAttachments(of func(*ec2.NetworkInterfaceAttachment) string) func(*ec2.Instance) []string {
	return ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return of(n.Attachment) })
}

var instanceFields = ec2.Fields[ec2.Instance]{
	"instance-id":         func(i *ec2.Instance) []string { return []string{i.InstanceId} },
	"instance-type":       func(i *ec2.Instance) []string { return []string{i.InstanceType} },
	"instance-state-name": func(i *ec2.Instance) []string { return []string{i.State.Name} },
	"instance-state-code": func(i *ec2.Instance) []string { return []string{strconv.Itoa(i.State.Code)} },
	"image-id":            func(i *ec2.Instance) []string { return []string{i.ImageId} },
	"launch-index":        func(i *ec2.Instance) []string { return []string{strconv.Itoa(i.AmiLaunchIndex)} },
	"launch-time":         func(i *ec2.Instance) []string { return []string{world.Timestamp(i.LaunchTime)} },
	"availability-zone":   func(i *ec2.Instance) []string { return []string{i.Placement.AvailabilityZone} },
	"tenancy":             func(i *ec2.Instance) []string { return []string{i.Placement.Tenancy} },
	"hypervisor":          func(i *ec2.Instance) []string { return []string{i.Hypervisor} },
	"vpc-id":              func(i *ec2.Instance) []string { return []string{i.VpcId} },
	"subnet-id":           func(i *ec2.Instance) []string { return []string{i.SubnetId} },
	"source-dest-check":   func(i *ec2.Instance) []string { return []string{strconv.FormatBool(i.SourceDestCheck)} },
	"private-ip-address":  func(i *ec2.Instance) []string { return []string{i.PrivateIpAddress} },
	"private-dns-name":    func(i *ec2.Instance) []string { return []string{i.PrivateDnsName} },
	"dns-name":            func(i *ec2.Instance) []string { return []string{i.PublicDnsName} },
	"ip-address":          func(i *ec2.Instance) []string { return []string{i.PublicIpAddress} },
	"client-token":        func(i *ec2.Instance) []string { return []string{i.ClientToken} },
	"key-name":            func(i *ec2.Instance) []string { return []string{i.KeyName} },
	"architecture":        func(i *ec2.Instance) []string { return []string{i.Architecture} },
	"instance.group-id": func(i *ec2.Instance) []string {
		return world.Collect(i.SecurityGroups, func(g ec2.GroupIdentifier) string { return g.GroupId })
	},
	"instance.group-name": func(i *ec2.Instance) []string {
		return world.Collect(i.SecurityGroups, func(g ec2.GroupIdentifier) string { return g.GroupName })
	},
	"iam-instance-profile.arn": func(i *ec2.Instance) []string {
		if i.IamInstanceProfile == nil {
			return nil
		}
		return []string{i.IamInstanceProfile.Arn}
	},
	"metadata-options.http-tokens":   func(i *ec2.Instance) []string { return []string{i.MetadataOptions.HttpTokens} },
	"metadata-options.http-endpoint": func(i *ec2.Instance) []string { return []string{i.MetadataOptions.HttpEndpoint} },
	"metadata-options.http-put-response-hop-limit": func(i *ec2.Instance) []string {
		return []string{strconv.Itoa(world.Number(i.MetadataOptions.HttpPutResponseHopLimit))}
	},
	"network-interface.network-interface-id": ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.NetworkInterfaceId }),
	"network-interface.subnet-id":            ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.SubnetId }),
	"network-interface.vpc-id":               ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.VpcId }),
	"network-interface.owner-id":             ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.OwnerId }),
	"network-interface.status":               ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.Status }),
	"network-interface.mac-address":          ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.MacAddress }),
	"network-interface.description":          ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.Description }),
	"network-interface.private-dns-name":     ofInterfaces(func(n ec2.InstanceNetworkInterface) string { return n.PrivateDnsName }),
	"network-interface.source-dest-check": ofInterfaces(func(n ec2.InstanceNetworkInterface) string {
		return strconv.FormatBool(n.SourceDestCheck)
	}),
	"network-interface.group-id": func(i *ec2.Instance) []string {
		var out []string
		for _, n := range i.NetworkInterfaces {
			out = append(out, world.Collect(n.Groups, func(g ec2.GroupIdentifier) string { return g.GroupId })...)
		}
		return out
	},
	"network-interface.addresses.private-ip-address": func(i *ec2.Instance) []string {
		var out []string
		for _, n := range i.NetworkInterfaces {
			out = append(out, world.Collect(n.PrivateIpAddresses, func(a ec2.NetworkInterfacePrivateIpAddress) string { return a.PrivateIpAddress })...)
		}
		return out
	},
	"network-interface.attachment.attachment-id": ofAttachments(func(a *ec2.NetworkInterfaceAttachment) string { return a.AttachmentId }),
	"network-interface.attachment.instance-id":   ofAttachments(func(a *ec2.NetworkInterfaceAttachment) string { return a.InstanceId }),
	"network-interface.attachment.status":        ofAttachments(func(a *ec2.NetworkInterfaceAttachment) string { return a.Status }),
	"network-interface.attachment.device-index":  ofAttachments(func(a *ec2.NetworkInterfaceAttachment) string { return strconv.Itoa(a.DeviceIndex) }),
	"network-interface.attachment.delete-on-termination": ofAttachments(func(a *ec2.NetworkInterfaceAttachment) string {
		return strconv.FormatBool(a.DeleteOnTermination)
	}),
}
