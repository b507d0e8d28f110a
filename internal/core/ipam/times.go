package ipam

import "time"

// Times that are not settings.
const (
	// shrinkEvery is the least time between two releases of excess addresses.
	shrinkEvery = 30 * time.Second
	// minENIAge is how long an interface is kept after it was attached or seen first.
	minENIAge = 60 * time.Second
	// leakedAge is the least age of an unattached interface before it counts as leaked. Where thousands of nodes start at
	// once, one may wait for its turn to be attached for a quarter of an hour.
	leakedAge = 30 * time.Minute
	// resyncEvery is the interval of full reads of the node's interfaces when nothing asks for one earlier.
	resyncEvery = 30 * time.Minute
	// Subnets are read again at these intervals: while a warm target is short, and otherwise.
	subnetsWarm = 5 * time.Minute
	subnetsIdle = 30 * time.Minute
	// subnetsTight is the interval where the subnets fill up: what is kept ahead may be what others wait for.
	subnetsTight = 5 * time.Minute
	// While pods wait for a subnet the interval is a searchPart of the time since something new was learnt, between these
	// bounds, and up to a quarter longer by node: a fleet that waits for hours must not throttle itself. Somebody who makes a
	// subnet within four minutes sees it used after ten seconds at most, and within half a minute all its pods run: 10 s
	// to see it, 4 s for an interface, 15 s until the kubelet repeats an ADD that had just failed. After a longer wait it may be
	// 5 s more, unless a new block of the VPC came first: that is news, and costs no call to EC2.
	searchFirst = 4 * time.Second
	searchLast  = 12 * time.Second
	searchPart  = 30
	// metadataEvery is the interval of walks of the metadata service.
	metadataEvery   = time.Minute
	metadataWaiting = 5 * time.Second
	// vpcEvery is the interval of reads of the VPC's blocks: two requests to the instance's own metadata service. vpcUnknown is
	// that while a subnet lies outside the known ones.
	vpcEvery   = 10 * time.Second
	vpcUnknown = time.Second
	// planEvery is the longest time between two plans.
	planEvery = time.Minute
	// leakedEvery is the interval of the search for leaked interfaces.
	leakedEvery = time.Hour
	// leakedSpread is over how long the nodes of a cluster that started together spread that search.
	leakedSpread = 5 * time.Minute
	// ec2Slow is how long a restart waits for EC2's first answer before it makes do with the journal and metadata: a call may
	// hang, or be tried again below us while it is throttled.
	ec2Slow = 500 * time.Millisecond
	// firstQuiet keeps what can wait away from the first moments of a restart.
	firstQuiet = 5 * time.Second
)
