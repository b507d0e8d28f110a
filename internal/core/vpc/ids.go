package vpc

// Identifiers as EC2 spells them, for example "eni-0123456789abcdef0". They are types so that one cannot be passed
// for another.
type (
	// ID is a VPC's identifier ("vpc-…").
	ID string
	// SubnetID identifies a subnet ("subnet-…").
	SubnetID string
	// ENIID identifies a network interface ("eni-…").
	ENIID string
	// AttachmentID identifies the attachment of a network interface to an instance ("eni-attach-…").
	AttachmentID string
	// InstanceID identifies an EC2 instance ("i-…").
	InstanceID string
	// SecurityGroupID identifies a security group ("sg-…").
	SecurityGroupID string
	// ReservationID identifies a reservation of a part of a subnet ("scr-…").
	ReservationID string
	// AccountID is the twelve-digit number of an AWS account.
	AccountID string
	// ZoneName is an availability zone's name in one account, for example "us-west-2a".
	ZoneName string
)

// Tags is a set of tags as one account sees them.
type Tags map[string]string

// Tag keys and values that the existing ecosystem reads and writes; their spelling is fixed.
const (
	// TagCNIRole marks a subnet: "0" excludes it from pod addressing, any other non-empty value includes it.
	TagCNIRole = "kubernetes.io/role/cni"
	// TagCNIClusterPrefix followed by a cluster's name limits an included subnet to the clusters named that way.
	TagCNIClusterPrefix = "cni.networking.k8s.aws/cluster/"
	// TagGroupSubnetPrefix followed by a subnet's id limits a security group tagged TagCNIRole to interfaces in the subnets
	// named that way.
	TagGroupSubnetPrefix = "cni.networking.k8s.aws/subnet/"
	// TagENIInstance names the instance that created an interface.
	TagENIInstance = "node.k8s.amazonaws.com/instance_id"
	// TagENICreatedAt holds an interface's time of creation, RFC 3339.
	TagENICreatedAt = "node.k8s.amazonaws.com/createdAt"
	// TagENINoManage set to "true" keeps the agent's hands off an interface.
	TagENINoManage = "node.k8s.amazonaws.com/no_manage"
	// TagENICluster names the cluster that an interface belongs to.
	TagENICluster = "cluster.k8s.amazonaws.com/name"
	// TagENIOwner is set to ENIOwner on interfaces of a named cluster.
	TagENIOwner = "eks:eni:owner"
	// ENIOwner is the value of TagENIOwner.
	ENIOwner = "amazon-vpc-cni"
	// ENIDescriptionPrefix followed by the instance id is the description of each interface that the agent creates.
	ENIDescriptionPrefix = "aws-K8S-"
)
