package main

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/run"
)

// Texts of variable.allowed.
const (
	yesNo      = "true or false"
	onlyFalse  = "false"
	onlyTrue   = "true"
	anyText    = "any"
	wholeFrom0 = "a whole number from 0"
	ipv4CIDRs  = "IPv4 CIDRs, separated by commas"
	levels     = "DEBUG, INFO, WARN, ERROR or FATAL"
	mtus       = "576 to 9001"
	maxInt     = 1 << 30
)

// Groups of variables, in the order of the documentation.
const (
	groupFamily  = "Address family and mode"
	groupPool    = "Warm pool and limits"
	groupEC2     = "Network interfaces and EC2"
	groupCustom  = "Custom networking"
	groupPath    = "Datapath"
	groupChained = "Chained plugins"
	groupPolicy  = "Network policy"
	groupLater   = "Features that do not exist yet"
	groupRun     = "Logs, metrics, identity"
)

// variables returns every environment variable that the agent reads, in the order of the documentation. Variables that
// are not here are not looked at.
func variables() []variable {
	return slicesOf(familyVariables(), poolVariables(), ec2Variables(), customVariables(), pathVariables(), chainedVariables(), policyVariables(), laterVariables(), runVariables())
}

func slicesOf(groups ...[]variable) []variable {
	var all []variable
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func familyVariables() []variable {
	return []variable{
		{"ENABLE_IPv4", "true", groupFamily, onlyTrue, warn, "Pods have IPv4 addresses.", only(true, "a cluster without IPv4")},
		{"ENABLE_IPv6", "false", groupFamily, onlyFalse, warn, "Pods have IPv6 addresses. Also read by the init container.", only(false, "IPv6 addressing")},
		{"ENABLE_PREFIX_DELEGATION", "false", groupFamily, yesNo, warn, "Interfaces get /28 prefixes in place of single addresses, on instance types that take them.", boolean(func(c *config) *bool { return &c.ipam.Prefixes })},
	}
}

func poolVariables() []variable {
	return []variable{
		{"WARM_ENI_TARGET", "", groupPool, wholeFrom0 + "; not set: the pool follows the demand", warn, "Free interfaces' worth of addresses that are kept ready. Ignored when WARM_IP_TARGET or MINIMUM_IP_TARGET is set, and with prefixes.", warmTarget(func(c *config) *int { return &c.ipam.WarmENI })},
		{"WARM_IP_TARGET", "0", groupPool, wholeFrom0 + "; 0: not set", warn, "Free addresses that are kept ready.", integer(0, maxInt, func(c *config) *int { return &c.ipam.WarmIP })},
		{"MINIMUM_IP_TARGET", "0", groupPool, wholeFrom0 + "; 0: not set", warn, "Least number of addresses on the node, used and free together.", integer(0, maxInt, func(c *config) *int { return &c.ipam.MinimumIP })},
		{"WARM_PREFIX_TARGET", "", groupPool, wholeFrom0 + "; not set: the pool follows the demand", warn, "Free prefixes that are kept ready. Ignored when WARM_IP_TARGET or MINIMUM_IP_TARGET is set, and while ENABLE_PREFIX_DELEGATION is false.", warmTarget(func(c *config) *int { return &c.ipam.WarmPrefix })},
		{"MAX_ENI", "-1", groupPool, "a whole number; below 1: only the instance type limits", warn, "Most interfaces of the node, those that the agent does not manage included.", integer(-maxInt, maxInt, func(c *config) *int { return &c.ipam.MaxENI })},
		{"IP_COOLDOWN_PERIOD", "30", groupPool, "seconds, a whole number from 0", stop, "How long the address of a deleted pod is not given to another one. It survives a restart of the agent.", seconds(0, maxInt, func(c *config) *time.Duration { return &c.ipam.Cooldown })},
	}
}

func ec2Variables() []variable {
	return []variable{
		{"AWS_MANAGE_ENIS_NON_SCHEDULABLE", "false", groupEC2, yesNo, warn, "Add and release interfaces and addresses also while the node has the taint node.kubernetes.io/unschedulable:NoSchedule.", boolean(func(c *config) *bool { return &c.ipam.ManageUnschedulable })},
		{"ENABLE_SUBNET_DISCOVERY", "true", groupEC2, yesNo, warn, "Use all subnets of the node's VPC and zone that are tagged kubernetes.io/role/cni, not only that of the primary interface.", boolean(func(c *config) *bool { return &c.ipam.Discovery })},
		{"DISABLE_NETWORK_RESOURCE_PROVISIONING", "false", groupEC2, yesNo, warn, "Change nothing in EC2: somebody else provides interfaces and addresses. Implies DISABLE_LEAKED_ENI_CLEANUP.", negated(func(c *config) *bool { return &c.ipam.Provision })},
		{"ENABLE_IMDS_ONLY_MODE", "false", groupEC2, yesNo, warn, "Read interfaces from the instance metadata service only and never call EC2, except for the limits of an instance type that is not known. Implies DISABLE_NETWORK_RESOURCE_PROVISIONING.", negated(func(c *config) *bool { return &c.ipam.ReadEC2 })},
		{"DISABLE_LEAKED_ENI_CLEANUP", "false", groupEC2, yesNo, warn, "Leave unattached interfaces of nodes that are gone.", negated(func(c *config) *bool { return &c.ipam.CleanLeaked })},
		{"MANAGE_UNTAGGED_ENI", "true", groupEC2, yesNo, warn, "Use interfaces without the tag node.k8s.amazonaws.com/instance_id. Those tagged node.k8s.amazonaws.com/no_manage=true are never used.", boolean(func(c *config) *bool { return &c.ipam.ManageUntagged })},
		{"ADDITIONAL_ENI_TAGS", "{}", groupEC2, "a JSON object of strings; keys with " + reservedTag + " are left out", skip, "Tags of the interfaces that the agent creates.", extraTags},
		{"CLUSTER_NAME", "", groupEC2, anyText, stop, "The cluster's name: tags of interfaces, and which tagged subnets are this cluster's.", text(func(c *config) *string { return &c.ipam.Cluster })},
		{"AWS_EC2_ENDPOINT", "", groupEC2, "a URL", stop, "EC2's endpoint. AWS_ENDPOINT_URL_EC2 comes first; the SDK's other variables count too.", text(func(c *config) *string { return &c.ec2Endpoint })},
		{"HTTP_TIMEOUT", "10", groupEC2, "seconds, a whole number from 10", warn, "How long one attempt of a call to EC2 may take.", seconds(10, 3600, func(c *config) *time.Duration { return &c.httpTimeout })},
		{"ENABLE_EC2_SHARE", "false", groupEC2, yesNo, warn, "Follow how berth-controller divides the account's EC2 request buckets, when it does. The chart sets it with controller.enabled.", boolean(func(c *config) *bool { return &c.share })},
		{"AWS_VPC_K8S_CNI_BACKING_STORE", "/var/run/aws-node/ipam.json", groupEC2, "a path", stop, "Where the agent keeps its state; its own journal has this name with the suffix .journal.", text(func(c *config) *string { return &c.backingStore })},
	}
}

func customVariables() []variable {
	return []variable{
		{"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false", groupCustom, yesNo, warn, "Secondary interfaces lie in the subnet and have the security groups of the node's ENIConfig; the primary interface gives pods no addresses.", boolean(func(c *config) *bool { return &c.ipam.CustomNetworking })},
		{"ENI_CONFIG_ANNOTATION_DEF", profile.DefaultKey, groupCustom, "the key of an annotation", warn, "The annotation of the Node that names its ENIConfig. The label " + profile.ExternalLabel + " comes before it.", nodeKey(func(c *config) *string { return &c.eniconfig.Annotation })},
		{"ENI_CONFIG_LABEL_DEF", profile.DefaultKey, groupCustom, "the key of a label", warn, "The label of the Node that names its ENIConfig, after the annotation; topology.kubernetes.io/zone for one per zone. Without either the ENIConfig default counts.", nodeKey(func(c *config) *string { return &c.eniconfig.Label })},
	}
}

func pathVariables() []variable {
	return []variable{
		{"AWS_VPC_ENI_MTU", "9001", groupPath, mtus, stop, "MTU of the interfaces.", integer(576, 9001, func(c *config) *int { return &c.host.ENIMTU })},
		{"POD_MTU", "", groupPath, mtus + "; not set: AWS_VPC_ENI_MTU", stop, "MTU of pods' interfaces.", podMTU},
		{"AWS_VPC_K8S_CNI_EXTERNALSNAT", "false", groupPath, yesNo, warn, "Somebody else, such as a NAT gateway, translates pods' addresses: traffic to outside the VPC keeps them.", negated(func(c *config) *bool { return &c.host.SNAT })},
		{"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "", groupPath, ipv4CIDRs, skip, "Destinations outside the VPC for which pods keep their address.", prefixes(func(c *config) *[]netip.Prefix { return &c.host.NoSNATCIDRs })},
		{"AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng", groupPath, "prng, hashrandom or none", warn, "How source ports are chosen when addresses are translated.", randomizeSNAT},
		{"AWS_EXTERNAL_SERVICE_CIDRS", "", groupPath, ipv4CIDRs, skip, "Destinations that all pods reach by the main route table.", prefixes(func(c *config) *[]netip.Prefix { return &c.host.ExternalServiceCIDRs })},
		{"AWS_VPC_CNI_NODE_PORT_SUPPORT", "true", groupPath, yesNo, warn, "Replies of node ports leave by the primary interface.", boolean(func(c *config) *bool { return &c.host.NodePort })},
		{"AWS_VPC_K8S_CNI_CONNMARK", "0x80", groupPath, "a number of 32 bits, not 0", warn, "The bit of the packet mark that node ports use.", connMark},
		{"AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "", groupPath, anyText, warn, "Of no effect, as in the Amazon VPC CNI: the init container sets rp_filter.", unused},
		{"ENABLE_NFTABLES", "", groupPath, anyText, warn, "Of no effect, as in the Amazon VPC CNI: nftables are always used.", unused},
		{"AWS_VPC_K8S_CNI_VETHPREFIX", "eni", groupPath, "at most 4 characters, not eth, lo or vlan", stop, "Prefix of the names of pods' interfaces on the node.", vethPrefix},
	}
}

func chainedVariables() []variable {
	return []variable{
		{"ENABLE_BANDWIDTH_PLUGIN", "false", groupChained, yesNo, warn, "Chain the bandwidth plugin: annotations kubernetes.io/ingress-bandwidth and egress-bandwidth.", boolean(func(c *config) *bool { return &c.bandwidth })},
		{"DISABLE_POD_V6", "false", groupChained, yesNo, warn, "Chain the tuning plugin, which turns IPv6 off in pods.", boolean(func(c *config) *bool { return &c.disablePodV6 })},
		{"POD_SECURITY_GROUP_ENFORCING_MODE", "strict", groupChained, "strict or standard", warn, "Handed to the plugin's configuration. Of no effect while ENABLE_POD_ENI is false.", choice(func(c *config) *string { return &c.securityMode }, "strict", "standard")},
		{"DISABLE_TCP_EARLY_DEMUX", "false", groupChained, yesNo, warn, "Init container only: sets net.ipv4.tcp_early_demux to 0.", boolean(func(c *config) *bool { return &c.noEarlyDemux })},
	}
}

func policyVariables() []variable {
	return []variable{
		{"ENABLE_NETWORK_POLICY", "false", groupPolicy, yesNo, stop, "Enforce network policy: by eBPF programs on pods' interfaces, from the first packet on.", boolean(func(c *config) *bool { return &c.policy.On })},
		{"NETWORK_POLICY_ENFORCING_MODE", "standard", groupPolicy, "standard, strict or none, in any case of letters", stop, "What becomes of traffic that no policy decides: standard allows it, strict denies it. none enforces nothing. Of no effect while ENABLE_NETWORK_POLICY is false.", choice(func(c *config) *string { return &c.policy.Mode }, "standard", "strict", "none")},
		{"NETWORK_POLICY_MASQUERADED", "allow", groupPolicy, "allow or judge", stop, "What becomes of packets from outside that the node forwards under its own address, such as by a node port: allow takes them for the node's, judge asks policies, which must name the node's address.", choice(func(c *config) *string { return &c.policy.Masqueraded }, "allow", "judge")},
		{"NETWORK_POLICY_EVENT_LOGS", "none", groupPolicy, "none, denied or all", warn, "Which packets have a line in the log of network policy: denied ones, or the first packets of allowed flows, too.", choice(func(c *config) *string { return &c.policy.EventLogs }, "none", "denied", "all")},
		{"NETWORK_POLICY_EVENT_LOG_FILE", "/host/var/log/aws-routed-eni/network-policy-agent.log", groupPolicy, "a path", stop, "The log of network policy: JSON lines, five files of 100 MB.", text(func(c *config) *string { return &c.policy.EventLogFile })},
	}
}

func laterVariables() []variable {
	return []variable{
		{"ENABLE_POD_ENI", "false", groupLater, onlyFalse, warn, "Security groups for pods.", only(false, "security groups for pods")},
		{"ENABLE_MULTI_NIC", "false", groupLater, onlyFalse, warn, "Interfaces on network cards other than the first.", only(false, "multi-NIC")},
		{"ANNOTATE_POD_IP", "false", groupLater, onlyFalse, warn, "Annotate pods with their address.", only(false, "the annotation of pods")},
		{"ENABLE_V6_EGRESS", "false", groupLater, onlyFalse, warn, "IPv6 egress of IPv4 pods. Also read by the init container.", only(false, "IPv6 egress")},
		{"ENABLE_V4_EGRESS", "true", groupLater, yesNo, warn, "IPv4 egress of IPv6 pods. Of no effect while ENABLE_IPv6 is false.", boolean(func(*config) *bool { return new(bool) })},
		{"AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE", "", groupLater, anyText, warn, "Of no effect: there is no egress plugin yet.", unused},
		{"AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE", "", groupLater, anyText, warn, "Of no effect: there is no egress plugin yet.", unused},
	}
}

func runVariables() []variable {
	return []variable{
		{"AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG", groupRun, levels, warn, "Level of the agent's log.", logLevel},
		{"AWS_VPC_K8S_CNI_LOG_FILE", "/host/var/log/aws-routed-eni/ipamd.log", groupRun, "a path, stdout or stderr", stop, "The agent's log: JSON lines, five files of 100 MB. What is not debugging goes to standard error too.", text(func(c *config) *string { return &c.logFile })},
		{"AWS_VPC_K8S_PLUGIN_LOG_FILE", "/var/log/aws-routed-eni/plugin.log", groupRun, "a path on the host, or stderr", stop, "The plugin's log.", pluginLogFile},
		{"AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG", groupRun, levels, warn, "Level of the plugin's log.", choice(func(c *config) *string { return &c.pluginLogLevel }, "DEBUG", "INFO", "WARN", "ERROR", "FATAL")},
		{"INTROSPECTION_BIND_ADDRESS", "127.0.0.1:61679", groupRun, "host:port, or unix:/path", stop, "Where introspection is served.", text(func(c *config) *string { return &c.introspectionAddress })},
		{"DISABLE_INTROSPECTION", "false", groupRun, yesNo, warn, "Do not serve introspection.", negated(func(c *config) *bool { return &c.introspection })},
		{"DISABLE_METRICS", "false", groupRun, yesNo, warn, "Do not serve metrics on port 61678.", negated(func(c *config) *bool { return &c.metrics })},
		{"HOST_CNI_BIN_PATH", "/host/opt/cni/bin", groupRun, "a path", stop, "Where the plugin is installed. Also read by the init container.", text(func(c *config) *string { return &c.binDir })},
		{"HOST_CNI_CONFDIR_PATH", "/host/etc/cni/net.d", groupRun, "a path", stop, "Where 10-aws.conflist is written.", text(func(c *config) *string { return &c.confDir })},
		{"MY_NODE_NAME", "", groupRun, "the Node object's name", stop, "Set by the manifest from spec.nodeName. Without it the agent does not know the node's taints and max pods.", text(func(c *config) *string { return &c.nodeName })},
		{"MY_POD_NAME", "", groupRun, "the pod's name", stop, "Set by the manifest from metadata.name: the pod that events are recorded on.", text(func(c *config) *string { return &c.podName })},
		{"MY_POD_NAMESPACE", "kube-system", groupRun, "a namespace", stop, "The namespace of that pod.", text(func(c *config) *string { return &c.podNamespace })},
		{"VPC_CNI_VERSION", "", groupRun, anyText, stop, "Ends the user agent of requests to EC2 and to the API server.", text(func(c *config) *string { return &c.version })},
		{"KUBECONFIG", "", groupRun, "a path", stop, "How to reach the API server, in place of the pod's service account.", text(func(c *config) *string { return &c.kubeconfig })},
		{"CLUSTER_ENDPOINT", "", groupRun, "a URL", stop, "Replaces the API server's address.", text(func(c *config) *string { return &c.endpoint })},
	}
}

func podMTU(c *config, value string) error {
	if value == "" {
		c.podMTUDefault = true
		return nil
	}
	if err := integer(576, 9001, func(c *config) *int { return &c.host.PodMTU })(c, value); err != nil {
		return err
	}
	c.podMTUDefault = false
	return nil
}

func randomizeSNAT(c *config, value string) error {
	var v string
	if err := choice(func(*config) *string { return &v }, string(hostnet.RandomizePRNG), string(hostnet.RandomizeHash), string(hostnet.RandomizeNone))(c, value); err != nil {
		return err
	}
	c.host.RandomizeSNAT = hostnet.RandomizeSNAT(v)
	return nil
}

func logLevel(c *config, value string) error {
	level, err := run.ParseLevel(value)
	if err != nil {
		c.logLevel = slog.LevelDebug
		return err
	}
	c.logLevel = level
	return nil
}

func pluginLogFile(c *config, value string) error {
	if value == "stdout" {
		return errStdout
	}
	c.pluginLogFile = value
	return nil
}
