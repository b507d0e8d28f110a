package agentapi

// Code is an error code of the CNI specification (below 100) or one of ours.
type Code uint

// Codes of the CNI specification that we use, and ours. Meaning and remedy: Codes.
const (
	CodeUnknownContainer Code = 3
	CodeEnvironment      Code = 4
	CodeIO               Code = 5
	CodeDecode           Code = 6
	CodeConfig           Code = 7
	CodeTryAgainLater    Code = 11
	CodeNotAvailable     Code = 50
	CodeLimited          Code = 51

	CodeWire     Code = 100
	CodeJournal  Code = 101
	CodeMismatch Code = 102
	CodeProtocol Code = 103
	CodeUnwire   Code = 104
	CodeInternal Code = 105
)

// CodeDoc documents an error code.
type CodeDoc struct {
	Code   Code
	Name   string
	Cause  string
	Remedy string // the next command to type
}

// Codes documents every code that the plugin can answer with, in the order of their numbers. docs/reference/errors.md is
// generated from it.
func Codes() []CodeDoc {
	const logs = "`kubectl -n kube-system logs ds/aws-node -c aws-node` on the node's pod, or /var/log/aws-routed-eni/ipamd.log on the node"
	return []CodeDoc{
		{1, "incompatible CNI version", "The configuration's cniVersion is none that the plugin knows.", "Compare `cniVersion` in /etc/cni/net.d/10-aws.conflist with the output of `CNI_COMMAND=VERSION /opt/cni/bin/aws-cni`; deleting the file lets the agent write it anew."},
		{CodeUnknownContainer, "unknown container", "CHECK for an attachment that the agent does not have: it was deleted, or the agent's state was lost.", "Delete the pod: its replacement gets an address by a new ADD."},
		{CodeEnvironment, "invalid environment", "The runtime called the plugin without CNI_CONTAINERID, CNI_NETNS or CNI_IFNAME, with a value that is not allowed, or with CNI_ARGS that cannot be parsed. For CNI_NETNS: the namespace cannot be opened.", "Look at the runtime's log: `journalctl -u containerd`."},
		{CodeIO, "I/O failure", "Standard input could not be read, or a DEL could not be written to /var/run/aws-node/pending-del while the agent was down.", "`df /var/run /var/run/aws-node`; free space, the runtime repeats the DEL by itself."},
		{CodeDecode, "cannot decode", "Standard input is not the JSON of a network configuration, or its prevResult is not a CNI result.", "Validate /etc/cni/net.d/10-aws.conflist; deleting it lets the agent write it anew."},
		{CodeConfig, "invalid configuration", "The network configuration lacks its name, or CHECK came without prevResult.", "Validate /etc/cni/net.d/10-aws.conflist; deleting it lets the agent write it anew."},
		{CodeTryAgainLater, "try again later", "No address was free within 10 s, or the agent does not answer. The message has the reason: a full subnet, a limit of the instance type, throttling, a missing IAM permission, an agent that starts. The runtime repeats the ADD by itself.", "`berth status` shows addresses and waiting pods per node and free addresses per subnet. For an agent that does not answer: `kubectl -n kube-system get pods -l k8s-app=aws-node -o wide`."},
		{CodeNotAvailable, "plugin not available", "STATUS: no pod can be added now, because the agent is down, starts or stops. A lack of addresses is no error of STATUS: runtimes take the whole node out of service for one, and the ADDs that wait say why.", "`kubectl -n kube-system get pods -l k8s-app=aws-node -o wide`, then " + logs + "."},
		{CodeLimited, "limited connectivity", "STATUS: for a minute the agent could not compare and repair the host's links, routes, rules or packet filter, so that running pods may be cut off. The message has the reason.", "`berth status`, then " + logs + "."},
		{CodeWire, "cannot wire the pod", "The kernel refused a link, address, route or rule of the pod. All that was done is undone and the address is free again. The message has the kernel's words.", logs + "; the runtime repeats the ADD by itself."},
		{CodeJournal, "cannot write the journal", "The agent could not write down whom the address belongs to, so it did not hand it out.", "`df /var/run/aws-node` on the node; free space or make it writable."},
		{CodeMismatch, "check failed", "CHECK found that the pod's network differs from what ADD answered. The message says what differs.", logs + "; the agent repairs routes and rules by itself, a changed address needs a new pod."},
		{CodeProtocol, "versions do not match", "Plugin and agent are too far apart to understand each other, or the answer was garbage.", "Restart the node's aws-node pod: it installs its own plugin."},
		{CodeUnwire, "cannot remove the pod's network", "The kernel refused to remove a rule or the route of the pod. The address is kept until it can.", logs + "; the runtime repeats the DEL by itself."},
		{CodeInternal, "internal error", "The agent met a case that it does not know.", logs + "; report it with the lines around the error."},
	}
}
