package ipam

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Problems that last and that a person has to solve, beside the reasons why pods wait.
const (
	PrefixesNeedNitro pool.Why = "prefixes-need-nitro" // prefixes are asked for, and the instance type takes none
	TooManyGroups     pool.Why = "too-many-groups"     // tags select more security groups than an interface can have
	MaxPodsTooHigh    pool.Why = "max-pods-too-high"   // the kubelet allows more pods than the node has addresses for
)

// hostPods is how many pods in the host's network EKS's max-pods figures count in: aws-node and kube-proxy.
const hostPods = 2

// Problem is something about the node that a person has to look at: what it is, and what to do.
type Problem struct {
	Why     pool.Why
	Message string
}

// Problems are what is wrong with the node's settings, in a fixed order. They do not come and go with pods.
func Problems(s *pool.State) []Problem {
	v := viewOf(s)
	var list []Problem
	add := func(why pool.Why, hints ...string) {
		list = append(list, Problem{why, strings.Join(slices.DeleteFunc(hints, func(h string) bool { return h == "" }), "; ")})
	}
	if v.Config.Prefixes && !v.Limits.Nitro() {
		add(PrefixesNeedNitro, fmt.Sprintf("ENABLE_PREFIX_DELEGATION is true, and %s is no Nitro type: single addresses are assigned", v.Limits.Type),
			"use a Nitro type, or turn prefixes off for these nodes with a NodeSettings resource")
	}
	if v.Config.CustomNetworking {
		switch {
		case v.Custom().Subnet == "":
			detail, hint := v.explainENIConfig()
			add(NoENIConfig, detail, hint)
		case !v.zone.ReadAt().IsZero() && !v.customUsable():
			add(ENIConfigSubnet, v.explainCustomSubnet(), v.editENIConfig())
		}
	}
	many := v.tooManyGroups()
	if many != nil {
		list = append(list, Problem{TooManyGroups, many.Error()})
	}
	if most := v.Capacity() + hostPods; v.MaxPods > most {
		node, hint := v.Limits.Type, fmt.Sprintf("set the kubelet's max-pods to %d", most)
		if v.limited() {
			node += fmt.Sprintf(" with MAX_ENI=%d", v.Config.MaxENI)
			hint += ", or raise MAX_ENI"
		}
		add(MaxPodsTooHigh, fmt.Sprintf("the kubelet allows %d pods, and %s has addresses for %d, with %d more in the host's network", v.MaxPods, node, v.Capacity(), hostPods), hint)
	}
	if v.groupsRefused() {
		add(EC2Failing, v.GroupsFailure().Error(), v.groupsHint(v.GroupsFailure()), "the agent tries again by itself; change the groups that EC2 refuses")
	}
	key, err := v.LastFailure()
	switch code := vpc.CodeOf(err); {
	case !v.tries.Refused(key), code == vpc.NotFound && !pool.Grows(key), code == vpc.TooManyGroups && many != nil:
	case code == vpc.NotAuthorized:
		add(EC2Denied, err.Error(), v.changeFor(err), "the agent tries again by itself")
	default:
		add(EC2Failing, err.Error(), v.changeFor(err), "the agent tries again by itself; change what EC2 refuses")
	}
	return list
}

// tooManyGroups says of which usable subnets tags select too many security groups, nil of none.
func (v view) tooManyGroups() error {
	var all []error
	for _, sn := range v.zone.Subnets() {
		if usable, _ := subnet.Judge(v.zone.Rules(), sn); !usable {
			continue
		}
		if _, _, err := v.Groups(sn.ID); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// groupsRefused tells whether EC2 refuses an interface the security groups that it is to have.
func (v view) groupsRefused() bool {
	return v.GroupsFailure() != nil && slices.ContainsFunc(v.ENIs(), func(e *pool.ENI) bool {
		groups, known, _ := v.Groups(e.Subnet)
		return known && v.tries.Refused("groups/"+string(e.ID)) && !sameGroups(e.Groups, groups)
	})
}
