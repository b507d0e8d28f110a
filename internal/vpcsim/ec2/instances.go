package ec2

import "time"

// RunInstancesInput launches instances. SubnetId, SecurityGroupIds and PrivateIpAddress exclude NetworkInterfaces.
type RunInstancesInput struct {
	ImageId, InstanceType, SubnetId, KeyName string
	PrivateIpAddress, UserData               string
	MinCount, MaxCount                       *int
	SecurityGroupIds                         []string
	SecondaryPrivateIpAddressCount           *int
	Ipv6AddressCount                         *int
	NetworkInterfaces                        []InstanceNetworkInterfaceSpecification
	IamInstanceProfile                       *IamInstanceProfileSpecification
	MetadataOptions                          *InstanceMetadataOptions
	Placement                                *Placement
	TagSpecifications                        []TagSpecification
	ClientToken                              string
	DryRun                                   bool
}

// InstanceNetworkInterfaceSpecification describes an interface of an instance to launch: a new one, or an existing one
// by NetworkInterfaceId.
type InstanceNetworkInterfaceSpecification struct {
	DeviceIndex, NetworkCardIndex                   *int
	NetworkInterfaceId, SubnetId                    string
	Description, InterfaceType, PrivateIpAddress    string
	Groups                                          []string
	PrivateIpAddresses                              []PrivateIpAddressSpecification
	SecondaryPrivateIpAddressCount, Ipv4PrefixCount *int
	Ipv4Prefixes                                    []Ipv4PrefixSpecification
	Ipv6AddressCount, Ipv6PrefixCount               *int
	AssociatePublicIpAddress, DeleteOnTermination   *bool
}

// IamInstanceProfileSpecification names an instance's role.
type IamInstanceProfileSpecification struct {
	Arn, Name string
}

// Placement says where an instance runs.
type Placement struct {
	AvailabilityZone, AvailabilityZoneId, Tenancy string
}

// RunInstancesOutput is the reservation that RunInstances made.
type RunInstancesOutput = Reservation

// Reservation is what one RunInstances made.
type Reservation struct {
	ReservationId, OwnerId string
	Groups                 []GroupIdentifier
	Instances              []Instance
}

// Instance is an instance as EC2 describes it.
type Instance struct {
	InstanceId, ImageId, InstanceType, ClientToken, KeyName string
	AmiLaunchIndex                                          int
	Architecture, Hypervisor                                string
	SubnetId, VpcId                                         string
	PrivateIpAddress, PrivateDnsName                        string
	PublicIpAddress, PublicDnsName, Ipv6Address             string
	SourceDestCheck                                         bool
	LaunchTime                                              time.Time
	State                                                   InstanceState
	StateTransitionReason                                   string
	Placement                                               Placement
	IamInstanceProfile                                      *IamInstanceProfile
	MetadataOptions                                         InstanceMetadataOptions
	SecurityGroups                                          []GroupIdentifier
	NetworkInterfaces                                       []InstanceNetworkInterface
	Tags                                                    []Tag
}

// InstanceState is 0 pending, 16 running, 32 shutting-down, 48 terminated.
type InstanceState struct {
	Code int
	Name string
}

// IamInstanceProfile is an instance's role.
type IamInstanceProfile struct {
	Arn, Id string
}

// InstanceMetadataOptions are the settings of an instance's metadata service. State is pending or applied in replies
// and ignored in requests.
type InstanceMetadataOptions struct {
	HttpEndpoint, HttpTokens, HttpProtocolIpv6, InstanceMetadataTags, State string
	HttpPutResponseHopLimit                                                 *int
}

// InstanceNetworkInterface is an interface within the description of its instance.
type InstanceNetworkInterface struct {
	NetworkInterfaceId, SubnetId, VpcId, OwnerId string
	Description, InterfaceType, MacAddress       string
	PrivateDnsName, PrivateIpAddress, Status     string
	SourceDestCheck                              bool
	Attachment                                   *NetworkInterfaceAttachment
	Association                                  *NetworkInterfaceAssociation
	Groups                                       []GroupIdentifier
	PrivateIpAddresses                           []NetworkInterfacePrivateIpAddress
	Ipv4Prefixes                                 []Ipv4PrefixSpecification
	Ipv6Addresses                                []InstanceIpv6Address
	Ipv6Prefixes                                 []Ipv6PrefixSpecification
}

// TerminateInstancesInput names instances to end.
type TerminateInstancesInput struct {
	InstanceIds []string
	DryRun      bool
}

// InstanceStateChange is the effect of TerminateInstances on one instance.
type InstanceStateChange struct {
	InstanceId                  string
	CurrentState, PreviousState InstanceState
}

// TerminateInstancesOutput is the reply of TerminateInstances.
type TerminateInstancesOutput struct {
	TerminatingInstances []InstanceStateChange
}

// DescribeInstancesInput selects instances.
type DescribeInstancesInput struct {
	InstanceIds []string
	Filters     []Filter
	DryRun      bool
}

// DescribeInstancesOutput is the reply of DescribeInstances, sorted by reservation and launch index.
type DescribeInstancesOutput struct {
	Reservations []Reservation
}

// ModifyInstanceMetadataOptionsInput changes what is set.
type ModifyInstanceMetadataOptionsInput struct {
	InstanceId, HttpEndpoint, HttpTokens, HttpProtocolIpv6, InstanceMetadataTags string
	HttpPutResponseHopLimit                                                      *int
	DryRun                                                                       bool
}

// ModifyInstanceMetadataOptionsOutput is the reply of ModifyInstanceMetadataOptions.
type ModifyInstanceMetadataOptionsOutput struct {
	InstanceId              string
	InstanceMetadataOptions InstanceMetadataOptions
}

// DescribeInstanceTypesInput selects instance types.
type DescribeInstanceTypesInput struct {
	InstanceTypes []string
	Filters       []Filter
	DryRun        bool
}

// InstanceTypeInfo is what the simulation knows of an instance type.
type InstanceTypeInfo struct {
	InstanceType, Hypervisor string
	BareMetal                bool
	CurrentGeneration        bool
	NetworkInfo              NetworkInfo
}

// NetworkInfo holds the network limits of an instance type.
type NetworkInfo struct {
	MaximumNetworkInterfaces, MaximumNetworkCards, DefaultNetworkCardIndex int
	Ipv4AddressesPerInterface, Ipv6AddressesPerInterface                   int
	Ipv6Supported, EfaSupported                                            bool
	EnaSupport                                                             string
	NetworkCards                                                           []NetworkCardInfo
}

// NetworkCardInfo holds the limits of one network card.
type NetworkCardInfo struct {
	NetworkCardIndex, MaximumNetworkInterfaces int
}

// DescribeInstanceTypesOutput is the reply of DescribeInstanceTypes, sorted by name.
type DescribeInstanceTypesOutput struct {
	InstanceTypes []InstanceTypeInfo
}
