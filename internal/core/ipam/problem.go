package ipam

import (
	"fmt"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Problems that last and that a person has to solve, beside the reasons why pods wait.
const (
	PrefixesNeedNitro Why = "prefixes-need-nitro" // prefixes are asked for, and the instance type takes none
	TooManyGroups     Why = "too-many-groups"     // tags select more security groups than an interface can have
	MaxPodsTooHigh    Why = "max-pods-too-high"   // the kubelet allows more pods than the node has addresses for
)

// hostPods is how many pods in the host's network EKS's max-pods figures count in: aws-node and kube-proxy.
const hostPods = 2

// Problem is something about the node that a person has to look at: what it is, and what to do.
type Problem struct {
	Why     Why
	Message string
}

// Problems are what is wrong with the node's settings, in a fixed order. They do not come and go with pods.
func (s *State) Problems() []Problem {
	var list []Problem
	add := func(why Why, detail, hint string) { list = append(list, Problem{why, detail + "; " + hint}) }
	if s.Config.Prefixes && !s.Limits.Nitro() {
		add(PrefixesNeedNitro, fmt.Sprintf("ENABLE_PREFIX_DELEGATION is true, and %s is no Nitro type: single addresses are assigned", s.Limits.Type),
			"use a Nitro type, or turn prefixes off for these nodes with a NodeSettings resource")
	}
	if s.Config.CustomNetworking {
		switch {
		case s.custom.Subnet == "":
			detail, hint := s.explainENIConfig()
			add(NoENIConfig, detail, hint)
		case !s.zone.ReadAt().IsZero() && !s.customUsable():
			add(ENIConfigSubnet, s.explainCustomSubnet(), s.editENIConfig())
		}
	}
	for _, sn := range s.zone.Subnets() {
		if usable, _ := subnet.Judge(s.zone.Rules(), sn); !usable {
			continue
		}
		if _, _, err := s.groups(sn.ID); err != nil {
			list = append(list, Problem{TooManyGroups, err.Error()})
		}
	}
	if most := s.Capacity() + hostPods; s.MaxPods > most {
		add(MaxPodsTooHigh, fmt.Sprintf("the kubelet allows %d pods, and %s has addresses for %d, with %d more in the host's network", s.MaxPods, s.Limits.Type, s.Capacity(), hostPods),
			fmt.Sprintf("set the kubelet's max-pods to %d", most))
	}
	if s.tries.Refused(s.lastKey) && vpc.CodeOf(s.lastErr) != vpc.NotFound {
		add(EC2Failing, s.lastErr.Error(), "the agent tries again by itself; change what EC2 refuses")
	}
	return list
}
