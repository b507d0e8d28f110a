package pool

import (
	"time"

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
