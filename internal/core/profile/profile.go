// Package profile knows what the Node object and the instance type make of a node: which ENIConfig it uses, and how many
// pods it can address in which mode. It is told the facts and decides; it never asks for any.
package profile

import (
	"regexp"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Names that count when custom networking is on, as in the Amazon VPC CNI.
const (
	// ExternalLabel is a label of the Node that comes before all others.
	ExternalLabel = "vpc.amazonaws.com/externalEniConfig"
	// DefaultKey is the annotation and the label that count unless ENI_CONFIG_ANNOTATION_DEF and ENI_CONFIG_LABEL_DEF say others.
	DefaultKey = "k8s.amazonaws.com/eniConfig"
	// DefaultENIConfig is the name when neither names one.
	DefaultENIConfig = "default"
)

// Keys are where a Node names its ENIConfig. An empty one stands for DefaultKey.
type Keys struct {
	Annotation string // ENI_CONFIG_ANNOTATION_DEF
	Label      string // ENI_CONFIG_LABEL_DEF
}

// ENIConfig returns the name of the ENIConfig that a Node uses and what named it, for people: ExternalLabel, else the
// annotation, else the label, else DefaultENIConfig. A label or annotation with an empty value names nothing, and the next
// one counts.
func ENIConfig(labels, annotations map[string]string, k Keys) (name, from string) {
	if k.Annotation == "" {
		k.Annotation = DefaultKey
	}
	if k.Label == "" {
		k.Label = DefaultKey
	}
	switch {
	case labels[ExternalLabel] != "":
		return labels[ExternalLabel], "label " + ExternalLabel
	case annotations[k.Annotation] != "":
		return annotations[k.Annotation], "annotation " + k.Annotation
	case labels[k.Label] != "":
		return labels[k.Label], "label " + k.Label
	}
	return DefaultENIConfig, "no label or annotation names one"
}

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// Nameable tells whether an object of the API can have the name: an RFC 1123 subdomain of at most 253 characters.
func Nameable(name string) bool { return len(name) <= 253 && objectName.MatchString(name) }

// Mode is how a node's pods get addresses.
type Mode struct {
	Prefixes         bool // ENABLE_PREFIX_DELEGATION, on a type that takes prefixes
	CustomNetworking bool // AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: the primary interface has no pods
	MaxENI           int  // MAX_ENI: most interfaces, the primary one included; below 1 only the type limits
}

// What EKS recommends as the most pods of a node with prefixes, by vCPUs.
// Source: https://docs.aws.amazon.com/eks/latest/userguide/choosing-instance-type.html
const (
	manyCPUs = 30
	podsFew  = 110 // below manyCPUs
	podsMany = 250
	// hostPods run in the host's network on every node: aws-node and kube-proxy.
	hostPods = 2
)

// MaxPods is the number of pods that a node of a type can address, those in the host's network that EKS counts included.
// With prefixes it is no more than EKS recommends for that many vCPUs; 0 stands for a number that is not known, and then
// the greater of the two recommendations limits. A type without room for pods gives hostPods, as EKS's own formula does.
func MaxPods(l vpc.InstanceLimits, m Mode, vcpus int) int {
	enis := l.ENIs
	if m.MaxENI >= 1 {
		enis = min(enis, m.MaxENI)
	}
	if m.CustomNetworking {
		enis--
	}
	pods := max(enis, 0) * max(l.IPv4PerENI-1, 0)
	if !m.Prefixes || !l.Nitro() {
		return pods + hostPods
	}
	pods = pods*vpc.PrefixSize + hostPods
	if vcpus > 0 && vcpus < manyCPUs {
		return min(pods, podsFew)
	}
	return min(pods, podsMany)
}
