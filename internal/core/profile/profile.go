// Package profile knows which ENIConfig the Node object gives a node. It is told the facts and decides; it never asks for any.
package profile

import "regexp"

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
