package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Config is what the operator set. Zero values are meaningful as documented; Defaults gives the manifest's.
type Config struct {
	// WarmENI is WARM_ENI_TARGET: that many interfaces' worth of addresses are kept free. Ignored when WarmIP or MinimumIP is
	// set, and in prefix mode. target.NotSet: the pool follows the demand.
	WarmENI int
	// WarmIP is WARM_IP_TARGET, MinimumIP is MINIMUM_IP_TARGET; 0 is unset.
	WarmIP    int
	MinimumIP int
	// WarmPrefix is WARM_PREFIX_TARGET: in prefix mode that many prefixes' worth of addresses are kept free. Ignored when
	// WarmIP or MinimumIP is set. target.NotSet: the pool follows the demand.
	WarmPrefix int
	// Prefixes is ENABLE_PREFIX_DELEGATION: interfaces get /28 prefixes, if the instance type takes them.
	Prefixes bool
	// CustomNetworking is AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: interfaces lie where an ENIConfig says, and the primary one
	// gives no addresses to pods.
	CustomNetworking bool
	// MaxENI is MAX_ENI; below 1 only the instance type limits.
	MaxENI int
	// Cooldown is IP_COOLDOWN_PERIOD.
	Cooldown time.Duration
	// ManageUntagged is MANAGE_UNTAGGED_ENI: interfaces without our tag are ours too, unless tagged no_manage.
	ManageUntagged bool
	// ManageUnschedulable is AWS_MANAGE_ENIS_NON_SCHEDULABLE.
	ManageUnschedulable bool
	// Provision is false under DISABLE_NETWORK_RESOURCE_PROVISIONING: EC2 is read and never changed.
	Provision bool
	// ReadEC2 is false under ENABLE_IMDS_ONLY_MODE: only metadata is read. It implies Provision false.
	ReadEC2 bool
	// Discovery is ENABLE_SUBNET_DISCOVERY.
	Discovery bool
	// ReservePrefixes: parts of subnets are set aside for prefixes. It comes from resources only, no variable sets it.
	ReservePrefixes bool
	// CleanLeaked is DISABLE_LEAKED_ENI_CLEANUP=false.
	CleanLeaked bool
	// Cluster is CLUSTER_NAME.
	Cluster string
	// ExtraTags is ADDITIONAL_ENI_TAGS.
	ExtraTags vpc.Tags
}

// Defaults returns the configuration that the manifest gives. It sets no warm target: the pool follows the demand.
func Defaults() Config {
	return Config{
		WarmENI: target.NotSet, WarmPrefix: target.NotSet, MaxENI: -1, Cooldown: 30 * time.Second,
		ManageUntagged: true, Provision: true, ReadEC2: true, Discovery: true, CleanLeaked: true,
	}
}

// Times that are not settings.
const (
	// The ledger's times hold for interfaces, too.
	settle     = ledger.Settle
	missingFor = ledger.MissingFor
	// forgetAfter is how long it is remembered that an address or interface was given back; metadata may still show it.
	forgetAfter = 10 * time.Minute
	// reattachAfter is how long an interface whose attachment had no known outcome may be unlisted before it is tried again.
	reattachAfter = 5 * time.Second
	// shrinkEvery is the least time between two releases of excess addresses.
	shrinkEvery = 30 * time.Second
	// minENIAge is how long an interface is kept after it was attached or seen first.
	minENIAge = 60 * time.Second
	// leakedAge is the least age of an unattached interface before it counts as leaked.
	leakedAge = 5 * time.Minute
	// resyncEvery is the interval of full reads of the node's interfaces when nothing asks for one earlier.
	resyncEvery = 10 * time.Minute
	// Subnets are read again at these intervals: while a warm target is short, and otherwise.
	subnetsWarm = 5 * time.Minute
	subnetsIdle = 10 * time.Minute
	// While pods wait for a subnet the interval is a searchPart of the time since something new was learnt, between these
	// bounds, and up to a quarter longer by node: a fleet that waits for hours must not throttle itself. Somebody who makes a
	// subnet within four minutes sees it used after ten seconds at most, and within half a minute all its pods run: 10 s
	// to see it, 4 s for an interface, 15 s until the kubelet repeats an ADD that had just failed. After a longer wait it may be
	// 5 s more, unless a new block of the VPC came first: that is news, and costs no call to EC2.
	searchFirst = 4 * time.Second
	searchLast  = 12 * time.Second
	searchPart  = 30
	// searchPause is how long no pod may begin to wait until the next one is something new: the runtime repeats an ADD that
	// failed within a quarter of a minute.
	searchPause = time.Minute
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
