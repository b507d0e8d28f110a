package kube

import (
	"encoding/json"
	"fmt"

	"github.com/berth-net/berth/internal/core/policy"
)

// ReadPolicyPod reads a Pod, as JSON, as FollowPolicies does.
func ReadPolicyPod(data []byte) (PolicyPod, error) {
	var p peerPod
	if err := json.Unmarshal(data, &p); err != nil {
		return PolicyPod{}, fmt.Errorf("read a pod: %w", err)
	}
	return p.pod(), nil
}

// ReadPolicyNode reads a Node, as JSON, as FollowPolicies does.
func ReadPolicyNode(data []byte) (policy.Node, error) {
	var n peerNode
	if err := json.Unmarshal(data, &n); err != nil {
		return policy.Node{}, fmt.Errorf("read a node: %w", err)
	}
	return n.node(), nil
}
