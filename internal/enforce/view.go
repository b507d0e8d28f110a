package enforce

import (
	"maps"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/dialect"
	"github.com/berth-net/berth/internal/run"
)

// Kind is a resource that holds policies.
type Kind string

// The kinds.
const (
	NetworkPolicy              Kind = "NetworkPolicy"
	ClusterNetworkPolicy       Kind = "ClusterNetworkPolicy.policy.networking.k8s.io"
	AmazonClusterNetworkPolicy Kind = "ClusterNetworkPolicy.networking.k8s.aws"
	ApplicationNetworkPolicy   Kind = "ApplicationNetworkPolicy.networking.k8s.aws"
)

// readers read the resources of each kind.
func readers() map[Kind]func([]byte) (policy.Policy, []dialect.Problem, error) {
	return map[Kind]func([]byte) (policy.Policy, []dialect.Problem, error){
		NetworkPolicy: dialect.NetworkPolicy, ClusterNetworkPolicy: dialect.ClusterNetworkPolicy,
		AmazonClusterNetworkPolicy: dialect.AmazonClusterNetworkPolicy, ApplicationNetworkPolicy: dialect.ApplicationNetworkPolicy,
	}
}

// Object is a policy as the API server has it.
type Object struct {
	Kind                 Kind
	Namespace, Name, UID string
	JSON                 []byte
}

// objectKey names an object.
type objectKey struct {
	kind            Kind
	namespace, name string
}

func (o Object) key() objectKey { return objectKey{o.Kind, o.Namespace, o.Name} }

// knowledge is what the API server has told.
type knowledge struct {
	policies   map[objectKey]document
	namespaces map[string]bool
	pods       map[name]Pod
	nodes      map[string]bool
	listed     map[string]bool
}

// document is a policy that was read.
type document struct {
	ref      policy.Ref
	uid      string
	problems []dialect.Problem
	unread   string // why the last text could not be read; what was said before is in force
}

func newKnowledge() knowledge {
	return knowledge{
		policies: map[objectKey]document{}, namespaces: map[string]bool{}, pods: map[name]Pod{}, nodes: map[string]bool{}, listed: map[string]bool{},
	}
}

// What else is listed, beside the kinds.
const (
	listedNamespaces = "namespaces"
	listedPods       = "pods"
	listedServices   = "services"
	listedLocals     = "the pods of this node" // by the node's own word
)

// whole tells whether everything was listed that a verdict may depend on.
func (k *knowledge) whole() bool { return len(k.listed) == len(readers())+4 }

// missing names what was not listed yet.
func (k *knowledge) missing() (names []string) {
	for kind := range readers() {
		if !k.listed[string(kind)] {
			names = append(names, string(kind))
		}
	}
	for _, what := range []string{listedNamespaces, listedPods, listedServices, listedLocals} {
		if !k.listed[what] {
			names = append(names, what)
		}
	}
	return names
}

// NodesMatter is closed once a policy names nodes.
func (e *Enforcer) NodesMatter() <-chan struct{} { return e.nodes }

// Policies tells of all policies of a kind.
func (e *Enforcer) Policies(kind Kind, all []Object) {
	e.tell(func() {
		gone := make(map[objectKey]bool)
		for key := range e.known.policies {
			gone[key] = key.kind == kind
		}
		for _, o := range all {
			gone[o.key()] = false
			e.setPolicy(o)
		}
		for key, is := range gone {
			if is {
				e.deletePolicy(key)
			}
		}
		e.known.listed[string(kind)] = true
	})
}

// Policy tells of one.
func (e *Enforcer) Policy(o Object, gone bool) {
	e.tell(func() {
		if gone {
			e.deletePolicy(o.key())
		} else {
			e.setPolicy(o)
		}
	})
}

func (e *Enforcer) setPolicy(o Object) {
	read := readers()[o.Kind]
	if read == nil {
		e.log.Error("policy of a kind that nobody reads", "kind", o.Kind, "policy", o.Name, run.KeyNamespace, o.Namespace)
		return
	}
	p, problems, err := read(o.JSON)
	if err != nil { // what it said before stays: nothing is opened or closed by a text that nobody can read
		e.log.Error("policy cannot be read", "kind", o.Kind, "policy", o.Name, run.KeyNamespace, o.Namespace, run.KeyErr, err)
		was := e.known.policies[o.key()]
		was.uid, was.unread = o.UID, err.Error()
		e.known.policies[o.key()] = was
		return
	}
	for _, problem := range problems {
		e.log.Warn("policy cannot be enforced as it is written", "kind", o.Kind, "policy", o.Name, run.KeyNamespace, o.Namespace, run.KeyWhy, problem.String())
	}
	if was, ok := e.known.policies[o.key()]; ok && was.ref != p.Ref {
		e.compiler.DeletePolicy(was.ref)
	}
	e.known.policies[o.key()] = document{ref: p.Ref, uid: o.UID, problems: problems}
	e.compiler.SetPolicy(p)
	e.domains.set(o.key(), domainsOf(p))
	if namesNodes(p) {
		e.openNodes()
	}
}

func namesNodes(p policy.Policy) bool {
	for _, rules := range p.Rules {
		for _, r := range rules {
			for _, peer := range r.Peers {
				if peer.Nodes != nil {
					return true
				}
			}
		}
	}
	return false
}

// openNodes has the nodes followed.
func (e *Enforcer) openNodes() {
	select {
	case <-e.nodes:
	default:
		close(e.nodes)
	}
}

func (e *Enforcer) deletePolicy(key objectKey) {
	if was, ok := e.known.policies[key]; ok {
		e.compiler.DeletePolicy(was.ref)
		e.domains.set(key, nil)
		delete(e.known.policies, key)
	}
}

// Namespaces tells of the labels of all namespaces.
func (e *Enforcer) Namespaces(labels map[string]map[string]string) {
	e.tell(func() {
		for n := range e.known.namespaces {
			if _, ok := labels[n]; !ok {
				e.setNamespace(n, nil, true)
			}
		}
		for n, l := range labels {
			e.setNamespace(n, l, false)
		}
		e.known.listed[listedNamespaces] = true
	})
}

// Namespace tells of those of one.
func (e *Enforcer) Namespace(name string, labels map[string]string, gone bool) {
	e.tell(func() { e.setNamespace(name, labels, gone) })
}

func (e *Enforcer) setNamespace(name string, labels map[string]string, gone bool) {
	if gone {
		delete(e.known.namespaces, name)
		e.compiler.DeleteNamespace(name)
		return
	}
	e.known.namespaces[name] = true
	e.compiler.SetNamespace(name, labels)
}

// Pods tells of all pods.
func (e *Enforcer) Pods(all []Pod) {
	e.tell(func() {
		gone := maps.Clone(e.known.pods)
		for _, p := range all {
			delete(gone, name{p.Namespace, p.Name})
			e.setPod(p)
		}
		for _, p := range gone {
			e.deletePod(p)
		}
		e.known.listed[listedPods] = true
	})
}

// Pod tells of one.
func (e *Enforcer) Pod(p Pod, gone bool) {
	e.tell(func() {
		if gone {
			e.deletePod(p)
		} else {
			e.setPod(p)
		}
	})
}

// Nodes tells of all nodes.
func (e *Enforcer) Nodes(all []policy.Node) {
	e.tell(func() {
		gone := maps.Clone(e.known.nodes)
		for _, n := range all {
			delete(gone, n.Name)
			e.setNode(n)
		}
		for n := range gone {
			e.deleteNode(n)
		}
	})
}

// Node tells of one.
func (e *Enforcer) Node(n policy.Node, gone bool) {
	e.tell(func() {
		if gone {
			e.deleteNode(n.Name)
		} else {
			e.setNode(n)
		}
	})
}

func (e *Enforcer) setNode(n policy.Node) {
	e.known.nodes[n.Name] = true
	e.compiler.SetNode(n)
}

func (e *Enforcer) deleteNode(name string) {
	delete(e.known.nodes, name)
	e.compiler.DeleteNode(name)
}

func podKey(p Pod) compile.Key { return compile.Key(p.UID) }
