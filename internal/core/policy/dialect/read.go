package dialect

import (
	"encoding/json"
	"fmt"

	"github.com/berth-net/berth/internal/core/policy"
)

// Read reads a resource of any dialect, by its apiVersion and kind. The error is about a text that is none.
func Read(data []byte) (policy.Policy, []Problem, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return policy.Policy{}, nil, fmt.Errorf("read a policy: %w", err)
	}
	version, kind := quoted(fields["apiVersion"]), quoted(fields["kind"])
	switch version + " " + kind {
	case "networking.k8s.io/v1 NetworkPolicy":
		return NetworkPolicy(data)
	case "policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy":
		return ClusterNetworkPolicy(data)
	case "networking.k8s.aws/v1alpha1 ClusterNetworkPolicy":
		return AmazonClusterNetworkPolicy(data)
	case "networking.k8s.aws/v1alpha1 ApplicationNetworkPolicy":
		return ApplicationNetworkPolicy(data)
	}
	return policy.Policy{}, nil, fmt.Errorf("read a policy: apiVersion %q kind %q is no policy that is known", version, kind)
}

// open gives a resource's spec and what it is called. Names of fields are compared as they are: encoding/json would take "Spec" for
// spec when it fills a struct.
func open(data []byte, kind string, namespaced bool) (spec node, ref policy.Ref, err error) {
	var resource, metadata map[string]json.RawMessage
	if err := json.Unmarshal(data, &resource); err != nil {
		return node{}, ref, fmt.Errorf("read %s: %w", kind, err)
	}
	if err := json.Unmarshal(resource["metadata"], &metadata); err != nil {
		return node{}, ref, fmt.Errorf("read %s: its metadata: %w", kind, err)
	}
	ref = policy.Ref{Kind: kind, Name: quoted(metadata["name"])}
	if namespaced {
		ref.Namespace = quoted(metadata["namespace"])
	}
	spec = node{reader: &reader{done: doneHold}, path: "spec", raw: resource["spec"]}
	switch {
	case ref.Name == "":
		return node{}, ref, fmt.Errorf("read %s: it has no name", kind)
	case namespaced && ref.Namespace == "":
		return node{}, ref, fmt.Errorf("read %s %s: it has no namespace", kind, ref.Name)
	case !namespaced && spec.absent():
		return node{}, ref, fmt.Errorf("read %s %s: it has no spec", kind, ref.Name)
	case !spec.absent() && spec.raw[0] != '{':
		return node{}, ref, fmt.Errorf("read %s %s: its spec is no object", kind, ref.Name)
	}
	return spec, ref, nil
}

// quoted is a string, empty when it is none.
func quoted(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
