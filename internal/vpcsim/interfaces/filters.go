package interfaces

import (
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// ofAttachment makes a filter field out of one about the attachment.
func ofAttachment(of func(*ec2.NetworkInterfaceAttachment) string) func(*ec2.NetworkInterface) []string {
	return func(v *ec2.NetworkInterface) []string {
		if v.Attachment == nil {
			return nil
		}
		return []string{of(v.Attachment)}
	}
}

// ofAssociation makes a filter field out of one about the primary address's public one.
func ofAssociation(of func(*ec2.NetworkInterfaceAssociation) string) func(*ec2.NetworkInterface) []string {
	return func(v *ec2.NetworkInterface) []string {
		if v.Association == nil {
			return nil
		}
		return []string{of(v.Association)}
	}
}

// ofAssociations is ofAssociation for the public ones of all addresses.
func ofAssociations(of func(*ec2.NetworkInterfaceAssociation) string) func(*ec2.NetworkInterface) []string {
	return func(v *ec2.NetworkInterface) []string {
		var out []string
		for _, a := range v.PrivateIpAddresses {
			if a.Association != nil {
				out = append(out, of(a.Association))
			}
		}
		return out
	}
}

func privateIPs(v *ec2.NetworkInterface) []string {
	return world.Collect(v.PrivateIpAddresses, func(a ec2.NetworkInterfacePrivateIpAddress) string { return a.PrivateIpAddress })
}

var eniFields = ec2.Fields[ec2.NetworkInterface]{
	"network-interface-id":         func(v *ec2.NetworkInterface) []string { return []string{v.NetworkInterfaceId} },
	"subnet-id":                    func(v *ec2.NetworkInterface) []string { return []string{v.SubnetId} },
	"vpc-id":                       func(v *ec2.NetworkInterface) []string { return []string{v.VpcId} },
	"owner-id":                     func(v *ec2.NetworkInterface) []string { return []string{v.OwnerId} },
	"status":                       func(v *ec2.NetworkInterface) []string { return []string{v.Status} },
	"availability-zone":            func(v *ec2.NetworkInterface) []string { return []string{v.AvailabilityZone} },
	"availability-zone-id":         func(v *ec2.NetworkInterface) []string { return []string{v.AvailabilityZoneId} },
	"description":                  func(v *ec2.NetworkInterface) []string { return []string{v.Description} },
	"interface-type":               func(v *ec2.NetworkInterface) []string { return []string{v.InterfaceType} },
	"mac-address":                  func(v *ec2.NetworkInterface) []string { return []string{v.MacAddress} },
	"private-dns-name":             func(v *ec2.NetworkInterface) []string { return []string{v.PrivateDnsName} },
	"requester-id":                 func(v *ec2.NetworkInterface) []string { return []string{v.RequesterId} },
	"requester-managed":            func(v *ec2.NetworkInterface) []string { return []string{strconv.FormatBool(v.RequesterManaged)} },
	"source-dest-check":            func(v *ec2.NetworkInterface) []string { return []string{strconv.FormatBool(v.SourceDestCheck)} },
	"private-ip-address":           privateIPs,
	"addresses.private-ip-address": privateIPs,
	"ipv6-addresses.ipv6-address": func(v *ec2.NetworkInterface) []string {
		return world.Collect(v.Ipv6Addresses, func(a ec2.NetworkInterfaceIpv6Address) string { return a.Ipv6Address })
	},
	"group-id": func(v *ec2.NetworkInterface) []string {
		return world.Collect(v.Groups, func(g ec2.GroupIdentifier) string { return g.GroupId })
	},
	"group-name": func(v *ec2.NetworkInterface) []string {
		return world.Collect(v.Groups, func(g ec2.GroupIdentifier) string { return g.GroupName })
	},
	"addresses.primary": func(v *ec2.NetworkInterface) []string {
		return world.Collect(v.PrivateIpAddresses, func(a ec2.NetworkInterfacePrivateIpAddress) string { return strconv.FormatBool(a.Primary) })
	},
	"addresses.association.public-ip": ofAssociations(func(a *ec2.NetworkInterfaceAssociation) string { return a.PublicIp }),
	"addresses.association.owner-id":  ofAssociations(func(a *ec2.NetworkInterfaceAssociation) string { return a.IpOwnerId }),
	"association.public-ip":           ofAssociation(func(a *ec2.NetworkInterfaceAssociation) string { return a.PublicIp }),
	"association.ip-owner-id":         ofAssociation(func(a *ec2.NetworkInterfaceAssociation) string { return a.IpOwnerId }),
	"association.allocation-id":       ofAssociation(func(a *ec2.NetworkInterfaceAssociation) string { return a.AllocationId }),
	"association.association-id":      ofAssociation(func(a *ec2.NetworkInterfaceAssociation) string { return a.AssociationId }),
	"attachment.attachment-id":        ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.AttachmentId }),
	"attachment.instance-id":          ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.InstanceId }),
	"attachment.attach-time":          ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return world.Timestamp(a.AttachTime) }),
	"attachment.status":               ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.Status }),
	"attachment.device-index":         ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return strconv.Itoa(a.DeviceIndex) }),
	"attachment.network-card-index": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string {
		return strconv.Itoa(a.NetworkCardIndex)
	}),
	"attachment.instance-owner-id": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.InstanceOwnerId }),
	"attachment.delete-on-termination": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string {
		return strconv.FormatBool(a.DeleteOnTermination)
	}),
}
