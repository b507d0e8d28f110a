package dialect_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/dialect"
)

func FuzzNetworkPolicy(f *testing.F) { fuzz(f, dialect.NetworkPolicy, "ports") }

func FuzzApplicationNetworkPolicy(f *testing.F) { fuzz(f, dialect.ApplicationNetworkPolicy, "ports") }

func FuzzClusterNetworkPolicy(f *testing.F) { fuzz(f, dialect.ClusterNetworkPolicy, "protocols") }

func FuzzAmazonClusterNetworkPolicy(f *testing.F) {
	fuzz(f, dialect.AmazonClusterNetworkPolicy, "ports")
}

// fuzz begins with the resources of the golden files. Whatever a text is, no rule that accepts stands for any peer or any port unless
// the text leaves that list out, and every policy is one that the model allows.
func fuzz(f *testing.F, read func([]byte) (policy.Policy, []dialect.Problem, error), ports string) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if data, err := yaml.YAMLToJSON(file.Data); err == nil && strings.HasSuffix(file.Name, ".yaml") {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, problems, err := read(data)
		if err != nil {
			return
		}
		for _, problem := range problems {
			if !strings.HasPrefix(problem.Field, "spec") || problem.Why == "" || problem.Done == "" {
				t.Errorf("a problem that says too little: %+v", problem)
			}
		}
		if p.Name == "" || p.Subject.Pods == nil || (p.Subject.Namespace == "") == (p.Subject.Namespaces == nil) || p.Priority < -1 || p.Priority > 1000 {
			t.Errorf("no policy of the model: %s", p)
		}
		for d, rules := range p.Rules {
			for i, rule := range rules {
				checkRule(t, p, policy.Direction(d), rule)
				checkAny(t, data, policy.Direction(d), i, rule, p.Tier == policy.Network, ports)
			}
		}
		if again, _, _ := read(data); again.String() != p.String() {
			t.Errorf("read twice, %s and %s", p, again)
		}
	})
}

// checkRule holds a rule against the model's comments.
func checkRule(t *testing.T, p policy.Policy, d policy.Direction, r policy.Rule) {
	t.Helper()
	if r.Action < policy.Accept || r.Action > policy.Pass || p.Tier == policy.Network && (r.Action != policy.Accept || !p.Isolates[d]) {
		t.Errorf("%s: action %d", p, r.Action)
	}
	if r.AnyPeer && r.Peers != nil || r.AnyPort && r.Ports != nil {
		t.Errorf("%s: any, and some", p)
	}
	for _, peer := range r.Peers {
		set := []bool{peer.Pods != nil, peer.Nodes != nil, peer.Network != nil, peer.Domain != ""}
		if n := len(slices.DeleteFunc(set, func(is bool) bool { return !is })); n != 1 {
			t.Errorf("%s: a peer of %d kinds", p, n)
		}
		if peer.Domain != "" && (d == policy.Ingress || r.Action != policy.Accept || peer.Domain != strings.ToLower(peer.Domain) || strings.HasSuffix(peer.Domain, ".")) {
			t.Errorf("%s: domain %q", p, peer.Domain)
		}
		if b := peer.Network; b != nil {
			for _, x := range b.Except {
				if x != x.Masked() || x.Bits() <= b.CIDR.Bits() || !b.CIDR.Contains(x.Addr()) {
					t.Errorf("%s: %s without %s", p, b.CIDR, x)
				}
			}
			if b.CIDR != b.CIDR.Masked() || !b.CIDR.IsValid() || b.CIDR.Addr().Is4In6() {
				t.Errorf("%s: block %s", p, b.CIDR)
			}
		}
	}
	for _, port := range r.Ports {
		known := port.Protocol == policy.TCP || port.Protocol == policy.UDP || port.Protocol == policy.SCTP
		if !known || port.First > port.Last || port.Name != "" && port.Last != 0 || port.Name == "" && port.Last == 0 {
			t.Errorf("%s: port %+v", p, port)
		}
	}
}

// checkAny holds what an Accept rule leaves open against the text, read in another way.
func checkAny(t *testing.T, data []byte, d policy.Direction, i int, r policy.Rule, namespaced bool, ports string) {
	t.Helper()
	if r.Action != policy.Accept || !r.AnyPeer && !r.AnyPort {
		return
	}
	resource, spec, rule := map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	var rules []json.RawMessage
	if json.Unmarshal(data, &resource) != nil || json.Unmarshal(resource["spec"], &spec) != nil || json.Unmarshal(spec[d.String()], &rules) != nil || json.Unmarshal(rules[i], &rule) != nil {
		t.Fatalf("a rule that is open from what cannot be read: %s", data)
	}
	open := func(field string) bool {
		var list []json.RawMessage
		return rule[field] == nil || string(rule[field]) == "null" || namespaced && json.Unmarshal(rule[field], &list) == nil && len(list) == 0
	}
	if r.AnyPeer && (!namespaced || !open([...]string{"from", "to"}[d])) || r.AnyPort && !open(ports) {
		t.Errorf("rule %d of %s is open: %s", i, d, data)
	}
}
