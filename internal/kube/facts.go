package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Facts is what the API says that matters for addressing. It is not changed once it was given.
type Facts struct {
	MaxPods     int
	Schedulable bool
	ENIConfig   ENIConfig        // zero without custom networking
	Overrides   []pool.Overrides // of the NodeSettings that select the node, those that count first
	Refused     []string         // what of them cannot be used, a sentence each
	Bound       []Bound          // by UID
	// Unscheduled are the pods of the cluster that wait for a node, as far as they were counted, and Nodes how many nodes
	// there are; zero while they are not known.
	Unscheduled, Nodes int
}

// ENIConfig is the one that the Node names.
type ENIConfig struct {
	Name   string                `json:"name"`
	Found  bool                  `json:"found"`
	Subnet vpc.SubnetID          `json:"subnet,omitempty"` // empty when it names none that can be used
	Groups []vpc.SecurityGroupID `json:"groups,omitempty"`
	From   string                `json:"from"`          // what named it
	Why    string                `json:"why,omitempty"` // why it cannot be used; empty when it can
}

// Bound is a pod that the scheduler put on the node and that will ask for an address.
type Bound struct {
	Namespace, Name, UID string
	Leaving              bool
}

// known is what the watches told.
type known struct {
	node      *node
	settings  map[string]settings // by name
	eniconfig ENIConfig           // that was read last
	bound     map[string]Bound    // by UID

	unscheduled, nodes int
}

// facts makes Facts of what is known.
func (k known) facts(cfg Config) Facts {
	f := Facts{Unscheduled: k.unscheduled, Nodes: k.nodes}
	if len(k.bound) > 0 {
		f.Bound = slices.SortedFunc(maps.Values(k.bound), func(a, b Bound) int { return cmp.Compare(a.UID, b.UID) })
	}
	if k.node == nil {
		return f
	}
	f.MaxPods, f.Schedulable = k.node.maxPods(), k.node.schedulable()
	f.Overrides, f.Refused = selected(k.settings, k.node.Metadata.Labels)
	switch name, from := k.names(cfg); {
	case name == "":
	case k.eniconfig.Name == "":
		f.ENIConfig = ENIConfig{Name: name, From: from, Why: "ENIConfig " + name + " was not read yet; berth status says what the API server answers"}
	default: // when another one was named, that before until the new one is read
		f.ENIConfig = k.eniconfig
		if k.eniconfig.Name == name {
			f.ENIConfig.From = from
		}
	}
	return f
}

// names is the ENIConfig that the Node names, and what names it; none while the Node is not known or without custom networking.
func (k known) names(cfg Config) (name, from string) {
	if k.node == nil || !cfg.CustomNetworking {
		return "", ""
	}
	return profile.ENIConfig(k.node.Metadata.Labels, k.node.Metadata.Annotations, cfg.Keys)
}

// selected are the settings for a node with these labels, those that count first.
func selected(all map[string]settings, nodeLabels map[string]string) (overrides []pool.Overrides, refused []string) {
	order := slices.SortedFunc(maps.Values(all), func(a, b settings) int {
		return cmp.Or(cmp.Compare(b.overrides.Priority, a.overrides.Priority), cmp.Compare(a.overrides.Name, b.overrides.Name))
	})
	for _, s := range order {
		if s.selector != nil && !s.selector.Matches(labels.Set(nodeLabels)) {
			continue
		}
		if len(s.refused) > 0 {
			refused = append(refused, fmt.Sprintf("NodeSettings %s: %s; kubectl edit nodesettings %[1]s", s.overrides.Name, strings.Join(s.refused, ", ")))
		}
		if s.usable {
			overrides = append(overrides, s.overrides)
		}
	}
	return overrides, refused
}
