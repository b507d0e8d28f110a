package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/dialect"
	"github.com/berth-net/berth/internal/core/policy/reach"
	"github.com/berth-net/berth/internal/kube"
)

// pageSize is how many objects the API server is asked for at once.
const pageSize = "500"

// policies is what the API server has of policies, and of what they depend on.
type policies struct {
	policy.World
	problems map[policy.Ref][]dialect.Problem
	notes    []string // what bears on every answer
	agents   []enforcing
}

// enforcing is what an agent's pod was given.
type enforcing struct {
	on, strict bool
}

// readPolicies reads all that a verdict may depend on. Pods that have ended are left out: their addresses may be another's.
func readPolicies(ctx context.Context, client rest.Interface) (*policies, error) {
	p := &policies{World: policy.World{Namespaces: make(map[string]map[string]string)}, problems: make(map[policy.Ref][]dialect.Problem)}
	for _, kind := range kube.PolicyKinds() {
		if err := p.readKind(ctx, client, kind); err != nil {
			return nil, err
		}
	}
	err := list(ctx, client, "/api/v1/namespaces", func(data []byte) error {
		var n metav1.PartialObjectMetadata
		if err := json.Unmarshal(data, &n); err != nil {
			return fmt.Errorf("read a namespace: %w", err)
		}
		p.Namespaces[n.Name] = n.Labels
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = list(ctx, client, "/api/v1/nodes", func(data []byte) error {
		n, err := kube.ReadPolicyNode(data)
		p.Nodes = append(p.Nodes, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := list(ctx, client, "/api/v1/pods", p.pod); err != nil {
		return nil, err
	}
	reach.Place(&p.World)
	p.mode()
	return p, nil
}

func (p *policies) readKind(ctx context.Context, client rest.Interface, kind kube.PolicyKind) error {
	read := dialect.NetworkPolicy
	switch {
	case kind.Kind == "ApplicationNetworkPolicy":
		read = dialect.ApplicationNetworkPolicy
	case kind.Group == "networking.k8s.aws":
		read = dialect.AmazonClusterNetworkPolicy
	case kind.Group == "policy.networking.k8s.io":
		read = dialect.ClusterNetworkPolicy
	}
	err := list(ctx, client, fmt.Sprintf("/apis/%s/%s/%s", kind.Group, kind.Version, kind.Plural), func(data []byte) error {
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(data, &object); err != nil {
			return fmt.Errorf("read a %s: %w", kind.Name(), err)
		}
		one, problems, err := read(data)
		if err != nil {
			ref := policy.Ref{Kind: kind.Name(), Namespace: object.Namespace, Name: object.Name}
			p.notes = append(p.notes, fmt.Sprintf("%s cannot be read and was left out, while nodes keep what it said before: %v", ref, err))
			return nil
		}
		p.Policies = append(p.Policies, one)
		if len(problems) > 0 {
			p.problems[one.Ref] = problems
		}
		return nil
	})
	if apierrors.IsNotFound(err) && kind.Group != "networking.k8s.io" {
		return nil // nobody has installed it
	}
	return err
}

func (p *policies) pod(data []byte) error {
	one, err := kube.ReadPolicyPod(data)
	if err != nil {
		return err
	}
	if one.Ended {
		return nil
	}
	p.Pods = append(p.Pods, one.Pod)
	if one.Namespace != agentNamespace || one.Labels["app.kubernetes.io/component"] != "berth-agent" {
		return nil
	}
	var agent struct {
		Spec struct {
			Containers []struct {
				Env []struct{ Name, Value string }
			}
		}
	}
	if err := json.Unmarshal(data, &agent); err != nil {
		return fmt.Errorf("read pod %s/%s: %w", one.Namespace, one.Name, err)
	}
	var e enforcing
	for _, c := range agent.Spec.Containers {
		for _, v := range c.Env {
			e.on = e.on || v.Name == "ENABLE_NETWORK_POLICY" && v.Value == "true"
			e.strict = e.strict || v.Name == "NETWORK_POLICY_ENFORCING_MODE" && v.Value == "strict"
		}
	}
	p.agents = append(p.agents, e)
	return nil
}

// mode is what the agents' pods say of whether policies are enforced, and how.
func (p *policies) mode() {
	off := func(e enforcing) bool { return !e.on }
	strict := func(e enforcing) bool { return e.strict }
	switch {
	case len(p.agents) == 0:
		p.notes = append(p.notes, fmt.Sprintf("no pod in %s has the label %s: whether anything enforces policies here is not known", agentNamespace, agentSelector))
	case !slices.ContainsFunc(p.agents, func(e enforcing) bool { return e.on }):
		p.notes = append(p.notes, "no agent has ENABLE_NETWORK_POLICY=true: berth enforces no policy in this cluster, this is what they say")
	case slices.ContainsFunc(p.agents, off):
		p.notes = append(p.notes, "some agents lack ENABLE_NETWORK_POLICY=true: on their nodes no policy is enforced")
	}
	p.Strict = slices.ContainsFunc(p.agents, strict)
	if p.Strict && !slices.ContainsFunc(p.agents, func(e enforcing) bool { return !e.strict }) {
		return
	}
	if p.Strict {
		p.notes = append(p.notes, "some agents have NETWORK_POLICY_ENFORCING_MODE=strict and some have not: this is the answer of those that have")
	}
}

// list reads all objects of a collection, in pages.
func list(ctx context.Context, client rest.Interface, path string, each func([]byte) error) error {
	for token, more := "", true; more; more = token != "" {
		request := client.Get().AbsPath(path).Param("limit", pageSize)
		if token != "" {
			request = request.Param("continue", token)
		}
		data, err := request.Do(ctx).Raw()
		switch {
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return fmt.Errorf("list %s: %w: use a kubeconfig that may list it in all namespaces (kubectl get --raw %s)", path, err, path)
		case apierrors.ReasonForError(err) == metav1.StatusReasonExpired || apierrors.IsGone(err):
			return fmt.Errorf("list %s: it changed for longer than the API server remembers: run the command again: %w", path, err)
		case err != nil:
			return fmt.Errorf("list %s: %w", path, err)
		}
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return fmt.Errorf("list %s: %w", path, err)
		}
		for _, item := range page.Items {
			if err := each(item); err != nil {
				return fmt.Errorf("list %s: %w", path, err)
			}
		}
		token = page.Metadata.Continue
	}
	return nil
}
