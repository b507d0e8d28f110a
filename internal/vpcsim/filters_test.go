package vpcsim_test

import (
	"testing"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Filters that EC2 documents find what they are about, and only that. A pattern that matches nothing finds nothing, so each
// filter looks at something.
func TestDocumentedFilters(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	must(t, result(w.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: w.vpc, AmazonProvidedIpv6CidrBlock: true})))
	a, err := w.AllocateAddress(operator, ec2.AllocateAddressInput{Domain: "vpc"})
	must(t, err)
	primary := w.primary(t).NetworkInterfaceId
	must(t, result(w.AssociateAddress(operator, ec2.AssociateAddressInput{AllocationId: a.AllocationId, NetworkInterfaceId: primary})))
	group, err := w.CreateSecurityGroup(operator, ec2.CreateSecurityGroupInput{VpcId: w.vpc, GroupName: "web", Description: "d"})
	must(t, err)
	must(t, result(w.AuthorizeSecurityGroupIngress(operator, ec2.AuthorizeSecurityGroupInput{GroupId: group.GroupId, IpPermissions: []ec2.IpPermission{{
		IpProtocol: "tcp", FromPort: new(80), ToPort: new(90),
		IpRanges: []ec2.IpRange{{CidrIp: "192.0.2.0/24"}}, Ipv6Ranges: []ec2.Ipv6Range{{CidrIpv6: "2001:db8::/32"}},
		UserIdGroupPairs: []ec2.UserIdGroupPair{{GroupId: group.GroupId}},
	}}})))
	counts := map[string]func([]ec2.Filter) (int, error){
		"vpc": func(f []ec2.Filter) (int, error) {
			out, err := w.DescribeVpcs(operator, ec2.DescribeVpcsInput{Filters: f})
			return len(out.Vpcs), err
		},
		"subnet": func(f []ec2.Filter) (int, error) {
			out, err := w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{Filters: f})
			return len(out.Subnets), err
		},
		"interface": func(f []ec2.Filter) (int, error) {
			out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{Filters: f})
			return len(out.NetworkInterfaces), err
		},
		"instance": func(f []ec2.Filter) (int, error) {
			out, err := w.DescribeInstances(operator, ec2.DescribeInstancesInput{Filters: f})
			return len(out.Reservations), err
		},
		"group": func(f []ec2.Filter) (int, error) {
			out, err := w.DescribeSecurityGroups(operator, ec2.DescribeSecurityGroupsInput{
				Filters: append([]ec2.Filter{{Name: "group-name", Values: []string{"web"}}}, f...),
			})
			return len(out.SecurityGroups), err
		},
	}
	for _, tt := range []struct{ of, filter, value string }{
		{"vpc", "dhcp-options-id", "dopt-*"},
		{"vpc", "ipv6-cidr-block-association.ipv6-cidr-block", "2600:*/56"},
		{"vpc", "ipv6-cidr-block-association.association-id", "vpc-cidr-assoc-*"},
		{"vpc", "ipv6-cidr-block-association.state", "associated"},
		{"vpc", "ipv6-cidr-block-association.ipv6-pool", "Amazon"},
		{"subnet", "defaultForAz", "false"},
		{"subnet", "enable-dns64", "false"},
		{"subnet", "map-customer-owned-ip-on-launch", "false"},
		{"subnet", "private-dns-name-options-on-launch.hostname-type", "ip-name"},
		{"subnet", "private-dns-name-options-on-launch.enable-resource-name-dns-a-record", "false"},
		{"interface", "addresses.primary", "true"},
		{"interface", "addresses.association.public-ip", "*.*.*.*"},
		{"interface", "addresses.association.owner-id", "111122223333"},
		{"interface", "association.ip-owner-id", "111122223333"},
		{"interface", "association.allocation-id", "eipalloc-*"},
		{"interface", "association.association-id", "eipassoc-*"},
		{"interface", "attachment.attach-time", "2026-01-01T00:00:00.000Z"},
		{"instance", "instance-state-code", "16"},
		{"instance", "launch-index", "0"},
		{"instance", "launch-time", "2026-01-01T*"},
		{"instance", "hypervisor", "xen"},
		{"instance", "tenancy", "default"},
		{"instance", "source-dest-check", "true"},
		{"instance", "instance.group-name", "default"},
		{"instance", "metadata-options.http-tokens", "optional"},
		{"instance", "metadata-options.http-endpoint", "enabled"},
		{"instance", "metadata-options.http-put-response-hop-limit", "1"},
		{"instance", "network-interface.vpc-id", w.vpc},
		{"instance", "network-interface.owner-id", "111122223333"},
		{"instance", "network-interface.status", "in-use"},
		{"instance", "network-interface.mac-address", "02:*"},
		{"instance", "network-interface.private-dns-name", "ip-10-0-0-*"},
		{"instance", "network-interface.source-dest-check", "true"},
		{"instance", "network-interface.group-id", "sg-*"},
		{"instance", "network-interface.addresses.private-ip-address", "10.0.0.*"},
		{"instance", "network-interface.attachment.attachment-id", "eni-attach-*"},
		{"instance", "network-interface.attachment.instance-id", w.node},
		{"instance", "network-interface.attachment.status", "attached"},
		{"instance", "network-interface.attachment.device-index", "0"},
		{"instance", "network-interface.attachment.delete-on-termination", "true"},
		{"group", "ip-permission.protocol", "tcp"},
		{"group", "ip-permission.from-port", "80"},
		{"group", "ip-permission.to-port", "90"},
		{"group", "ip-permission.cidr", "192.0.2.0/24"},
		{"group", "ip-permission.ipv6-cidr", "2001:db8::/32"},
		{"group", "ip-permission.group-id", group.GroupId},
		{"group", "ip-permission.user-id", "111122223333"},
		{"group", "egress.ip-permission.protocol", "-1"},
		{"group", "egress.ip-permission.cidr", "0.0.0.0/0"},
	} {
		for value, want := range map[string]int{tt.value: 1, "no-" + tt.value: 0} {
			if got, err := counts[tt.of]([]ec2.Filter{{Name: tt.filter, Values: []string{value}}}); got != want || err != nil {
				t.Errorf("%ss with %s = %s: %d, want %d: %v", tt.of, tt.filter, value, got, want, err)
			}
		}
	}
}
