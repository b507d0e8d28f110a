package policy

import "net/netip"

// Tier is one of the three that are asked in turn, or what decides after them.
type Tier uint8

// The tiers, in the order in which they are asked.
const (
	Admin Tier = iota
	Network
	Baseline
	// Default is no tier of policies: it decides where none has.
	Default
)

// Direction is seen from the pod that a policy selects.
type Direction uint8

// The directions.
const (
	Ingress Direction = iota
	Egress
)

// Action is what a rule does with what it matches. Rules of the Network tier only accept.
type Action uint8

// The actions. Pass leaves the decision to the next tier.
const (
	Accept Action = iota + 1
	Deny
	Pass
)

// Ref names a policy. Kind is the resource's, with its group where it is not networking.k8s.io.
type Ref struct {
	Kind, Namespace, Name string
}

// Policy is a policy of any dialect.
type Policy struct {
	Ref
	Tier Tier
	// Priority orders policies of one tier, lowest first; it means nothing in Network. 0 to 1000, and -1 for one whose place cannot be
	// read. See the package's comment for ties.
	Priority int32
	Subject  Pods
	// Isolates tells for which directions the subject is reached only by what is allowed. Of tier Network only.
	Isolates [2]bool
	// Rules by direction, in the order of the resource.
	Rules [2][]Rule
}

// Rule matches packets by the other side and by port. A rule whose peers or ports were all left out because they are invalid
// matches nothing: that it matches any is said, never concluded from an empty list.
type Rule struct {
	Name    string // of the resource, may be empty
	Action  Action
	AnyPeer bool
	Peers   []Peer
	AnyPort bool
	Ports   []Port
}

// Peer is the other side. Exactly one field is set.
type Peer struct {
	Pods    *Pods
	Nodes   *Selector
	Network *Block
	// Domain is a name in lower case without a dot at its end, or "*." and such a name: what is below it. Only Accept rules of
	// Egress have one.
	Domain string
}

// Pods selects pods that do not use the host's network. A selector that is nil selects none.
type Pods struct {
	Namespace  string    // the only one, when not empty
	Namespaces *Selector // else by the labels of theirs
	Pods       *Selector
}

// Block is a range of addresses without some.
type Block struct {
	CIDR   netip.Prefix // masked
	Except []netip.Prefix
}

// Protocol is an IP protocol's number.
type Protocol uint8

// Protocols that policies name.
const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

// Port is the destination's. With a name it is what a container of the destination pod calls so and has that protocol; else it goes
// from First to Last, both included, 0 to 65535.
type Port struct {
	Protocol    Protocol
	First, Last uint16
	Name        string
}

// Pod is a pod that has addresses.
type Pod struct {
	Namespace, Name string
	Labels          map[string]string
	Addrs           []netip.Addr
	Node            string
	HostNetwork     bool
	Ports           []NamedPort
}

// NamedPort is a port of a container that has a name.
type NamedPort struct {
	Name     string
	Protocol Protocol
	Number   uint16
}

// Node is a node with all addresses of its object.
type Node struct {
	Name   string
	Labels map[string]string
	Addrs  []netip.Addr
}

// World is what decisions depend on. No two pods that do not use the host's network have the same address, no two policies the same
// Ref. Addresses are never IPv4 written as IPv6.
type World struct {
	Pods       []Pod
	Namespaces map[string]map[string]string // their labels, by name
	Nodes      []Node
	Policies   []Policy
	// Resolved is what names are known to stand for, by name in lower case without a dot at its end.
	Resolved map[string][]netip.Addr
	// Strict denies what no policy decides.
	Strict bool
}

// Packet is the first of a connection. What comes from the node of the pod itself, not forwarded by it, has FromHost set: no policy
// keeps a kubelet from its pods.
type Packet struct {
	From, To netip.Addr
	Protocol Protocol
	Port     uint16 // of the destination; 0 for protocols without
	FromHost bool
}
