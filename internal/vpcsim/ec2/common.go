package ec2

// Filter narrows a describe action: names are combined by AND, values by OR. See MatchFilters.
type Filter struct {
	Name   string
	Values []string
}

// Tag is a key and value that an account put on a resource.
type Tag struct {
	Key, Value string
}

// TagSpecification asks for tags on what an action creates.
type TagSpecification struct {
	ResourceType string
	Tags         []Tag
}

// AttributeBooleanValue wraps a boolean attribute in modify and describe actions.
type AttributeBooleanValue struct {
	Value bool
}

// AttributeValue wraps a text attribute in modify actions.
type AttributeValue struct {
	Value string
}

// Done is the reply of actions that return nothing but success.
type Done struct{}

// CreateTagsInput tags resources in the caller's account's view.
type CreateTagsInput struct {
	Resources []string
	Tags      []Tag
	DryRun    bool
}

// DeleteTagsInput removes tags; no Tags at all removes every tag of the resources.
type DeleteTagsInput struct {
	Resources []string
	Tags      []TagToDelete
	DryRun    bool
}

// TagToDelete names a tag; a Value that is not nil must match too.
type TagToDelete struct {
	Key   string
	Value *string
}

// DescribeTagsInput lists the tags that the caller's account sees.
type DescribeTagsInput struct {
	Filters []Filter
	DryRun  bool
}

// TagDescription is one tag of one resource.
type TagDescription struct {
	ResourceId, ResourceType, Key, Value string
}

// DescribeTagsOutput is the reply of DescribeTags, sorted by resource and key.
type DescribeTagsOutput struct {
	Tags []TagDescription
}

// DescribeAvailabilityZonesInput selects zones of the region.
type DescribeAvailabilityZonesInput struct {
	ZoneNames, ZoneIds   []string
	AllAvailabilityZones *bool
	Filters              []Filter
	DryRun               bool
}

// AvailabilityZone is a zone as EC2 describes it.
type AvailabilityZone struct {
	ZoneName, ZoneId, ZoneType, RegionName, GroupName, NetworkBorderGroup, OptInStatus, State string
}

// DescribeAvailabilityZonesOutput is the reply of DescribeAvailabilityZones.
type DescribeAvailabilityZonesOutput struct {
	AvailabilityZones []AvailabilityZone
}

// DescribeRegionsInput selects regions; the simulation has one.
type DescribeRegionsInput struct {
	RegionNames []string
	AllRegions  *bool
	Filters     []Filter
	DryRun      bool
}

// Region is a region as EC2 describes it.
type Region struct {
	RegionName, Endpoint, OptInStatus string
}

// DescribeRegionsOutput is the reply of DescribeRegions.
type DescribeRegionsOutput struct {
	Regions []Region
}
