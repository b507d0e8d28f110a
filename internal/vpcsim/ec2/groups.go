package ec2

// CreateSecurityGroupInput asks for a security group.
type CreateSecurityGroupInput struct {
	GroupName, Description, VpcId string
	TagSpecifications             []TagSpecification
	DryRun                        bool
}

// CreateSecurityGroupOutput is the reply of CreateSecurityGroup.
type CreateSecurityGroupOutput struct {
	GroupId, SecurityGroupArn string
	Tags                      []Tag
}

// DeleteSecurityGroupInput names a group to delete.
type DeleteSecurityGroupInput struct {
	GroupId, GroupName string
	DryRun             bool
}

// DescribeSecurityGroupsInput selects groups.
type DescribeSecurityGroupsInput struct {
	GroupIds, GroupNames []string
	Filters              []Filter
	DryRun               bool
}

// SecurityGroup is a group with its rules.
type SecurityGroup struct {
	GroupId, GroupName, Description, VpcId, OwnerId, SecurityGroupArn string
	IpPermissions, IpPermissionsEgress                                []IpPermission
	Tags                                                              []Tag
}

// DescribeSecurityGroupsOutput is the reply of DescribeSecurityGroups, sorted by id.
type DescribeSecurityGroupsOutput struct {
	SecurityGroups []SecurityGroup
}

// IpPermission allows a protocol and ports for the named peers. IpProtocol is tcp, udp, icmp, icmpv6, a number, or -1.
type IpPermission struct {
	IpProtocol       string
	FromPort, ToPort *int
	IpRanges         []IpRange
	Ipv6Ranges       []Ipv6Range
	UserIdGroupPairs []UserIdGroupPair
	PrefixListIds    []PrefixListId
}

// IpRange is an IPv4 peer of a permission.
type IpRange struct {
	CidrIp, Description string
}

// Ipv6Range is an IPv6 peer of a permission.
type Ipv6Range struct {
	CidrIpv6, Description string
}

// UserIdGroupPair is a security group as the peer of a permission.
type UserIdGroupPair struct {
	GroupId, GroupName, UserId, VpcId, Description string
}

// PrefixListId is a prefix list as the peer of a permission; the simulation has none.
type PrefixListId struct {
	PrefixListId, Description string
}

// AuthorizeSecurityGroupInput adds rules: either IpPermissions or the single rule of the members before it. It serves
// AuthorizeSecurityGroupIngress and AuthorizeSecurityGroupEgress.
type AuthorizeSecurityGroupInput struct {
	GroupId, GroupName                                  string
	CidrIp, IpProtocol                                  string
	FromPort, ToPort                                    *int
	SourceSecurityGroupName, SourceSecurityGroupOwnerId string
	IpPermissions                                       []IpPermission
	TagSpecifications                                   []TagSpecification
	DryRun                                              bool
}

// AuthorizeSecurityGroupOutput is the reply of both authorize actions.
type AuthorizeSecurityGroupOutput struct {
	Return             bool
	SecurityGroupRules []SecurityGroupRule
}

// RevokeSecurityGroupInput removes rules, named by value or by SecurityGroupRuleIds. It serves
// RevokeSecurityGroupIngress and RevokeSecurityGroupEgress.
type RevokeSecurityGroupInput struct {
	GroupId, GroupName                                  string
	CidrIp, IpProtocol                                  string
	FromPort, ToPort                                    *int
	SourceSecurityGroupName, SourceSecurityGroupOwnerId string
	IpPermissions                                       []IpPermission
	SecurityGroupRuleIds                                []string
	DryRun                                              bool
}

// RevokeSecurityGroupOutput is the reply of both revoke actions.
type RevokeSecurityGroupOutput struct {
	Return                    bool
	RevokedSecurityGroupRules []RevokedSecurityGroupRule
}

// RevokedSecurityGroupRule is a rule that was removed.
type RevokedSecurityGroupRule struct {
	SecurityGroupRuleId, GroupId, IpProtocol, CidrIpv4, CidrIpv6, ReferencedGroupId, Description string
	FromPort, ToPort                                                                             *int
	IsEgress                                                                                     bool
}

// DescribeSecurityGroupRulesInput selects rules.
type DescribeSecurityGroupRulesInput struct {
	SecurityGroupRuleIds []string
	Filters              []Filter
	DryRun               bool
}

// SecurityGroupRule is one rule with one peer.
type SecurityGroupRule struct {
	SecurityGroupRuleId, SecurityGroupRuleArn, GroupId, GroupOwnerId string
	IsEgress                                                         bool
	IpProtocol, CidrIpv4, CidrIpv6, Description                      string
	FromPort, ToPort                                                 *int
	ReferencedGroupInfo                                              *ReferencedSecurityGroup
	Tags                                                             []Tag
}

// ReferencedSecurityGroup is the group that a rule allows.
type ReferencedSecurityGroup struct {
	GroupId, UserId, VpcId string
}

// DescribeSecurityGroupRulesOutput is the reply of DescribeSecurityGroupRules.
type DescribeSecurityGroupRulesOutput struct {
	SecurityGroupRules []SecurityGroupRule
}
