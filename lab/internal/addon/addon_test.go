package addon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cluster is an installer that remembers what was applied.
type cluster struct {
	mu       sync.Mutex
	applied  []string
	deleted  []string
	conflict error
	ready    bool
}

func (c *cluster) Apply(_ context.Context, manifests []byte, how Conflicts) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conflict != nil && how != Overwrite {
		return c.conflict
	}
	c.applied = append(c.applied, string(manifests))
	return nil
}

func (c *cluster) Delete(_ context.Context, manifests []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted = append(c.deleted, string(manifests))
	return nil
}

func (c *cluster) Rollout(context.Context, string) (bool, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready, "daemonset/aws-node: 1 of 2 pods are ready", nil
}

func open(t *testing.T, c *cluster, file string) *Store {
	t.Helper()
	kinds, err := Catalogue(Sources{CoreDNSImage: "coredns:test", KubeVersion: "v1.35.4"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{
		Kinds: kinds, Installer: c, File: file, Log: slog.New(slog.DiscardHandler), RolloutLimit: time.Minute, Poll: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLifeOfAnAddon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{ready: true}
		s := open(t, c, filepath.Join(t.TempDir(), "addons.json"))
		if _, err := s.Describe(CoreDNS); err == nil || err.Error() != "ResourceNotFoundException: No addon: coredns found" {
			t.Error(err)
		}
		a, err := s.Create(Request{Name: CoreDNS})
		if err != nil || a.Status != Creating {
			t.Fatal(a, err)
		}
		s.Wait()
		if a, _ = s.Describe(CoreDNS); a.Status != Active {
			t.Fatalf("%+v", a)
		}
		u, err := s.Change(Request{Name: CoreDNS, Configuration: new(`{"replicaCount": 3}`)})
		if err != nil || u.Status != "InProgress" {
			t.Fatal(u, err)
		}
		s.Wait()
		if u, _ = s.Update(u.ID); u.Status != "Successful" {
			t.Fatalf("%+v", u)
		}
		if last := c.applied[len(c.applied)-1]; !strings.Contains(last, "replicas: 3") {
			t.Error(last)
		}
		if again := open(t, c, s.options.File); len(again.List()) != 1 {
			t.Errorf("after reading the file again: %v", again.List())
		}
		if _, err := s.Remove(CoreDNS, true); err != nil {
			t.Fatal(err)
		}
		s.Wait()
		if len(c.deleted) != 0 || len(s.List()) != 0 {
			t.Errorf("deleted %d, left %v", len(c.deleted), s.List())
		}
	})
}

func TestRolloutThatDoesNotComeAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &cluster{}, "")
		if _, err := s.Create(Request{Name: CoreDNS}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Change(Request{Name: CoreDNS}); err == nil || !strings.Contains(err.Error(), "currently in CREATING State") {
			t.Error(err)
		}
		s.Wait()
		a, _ := s.Describe(CoreDNS)
		want := []Issue{{Code: "InsufficientNumberOfReplicas", Message: "daemonset/aws-node: 1 of 2 pods are ready", Resources: []string{"deployment/coredns"}}}
		if diff := cmp.Diff(want, a.Issues); a.Status != Degraded || diff != "" {
			t.Errorf("%s %s", a.Status, diff)
		}
	})
}

func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{ready: true, conflict: &ConflictError{Resource: "Deployment coredns", Fields: []string{".spec.replicas"}}}
		s := open(t, c, "")
		for how, want := range map[Conflicts]Status{"": CreateFailed, Overwrite: Active} {
			if _, err := s.Create(Request{Name: CoreDNS, Conflicts: how}); err != nil {
				t.Fatal(err)
			}
			s.Wait()
			if a, _ := s.Describe(CoreDNS); a.Status != want {
				t.Errorf("%q: %+v", how, a)
			}
			if _, err := s.Remove(CoreDNS, false); err != nil {
				t.Fatal(err)
			}
			s.Wait()
		}
	})
}

func TestValidate(t *testing.T) {
	kinds, err := Catalogue(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	const refused = "InvalidParameterException: ConfigurationValue provided in request is not supported: Json schema validation failed with error: "
	for _, test := range []struct{ name, values, want string }{
		{"the walkthrough's", `{"env":{"ENABLE_SUBNET_DISCOVERY":"true"}}`, ""},
		{"YAML", "env:\n  WARM_IP_TARGET: \"5\"\n", ""},
		{"trailing newline of file://", "{}\n", ""},
		{"nothing", " ", ""},
		{"unknown key", `{"envs":{}}`, refused + "[$.envs: is not defined in the schema and the schema does not allow additional properties]"},
		{"unknown variable", `{"env":{"WARM_IP":"1"}}`, refused + "[$.env.WARM_IP: is not defined in the schema and the schema does not allow additional properties]"},
		{"number for text", `{"env":{"WARM_IP_TARGET":5}}`, refused + "[$.env.WARM_IP_TARGET: integer found, string expected]"},
		{"boolean for text", `{"env":{"ENABLE_SUBNET_DISCOVERY":true}}`, refused + "[$.env.ENABLE_SUBNET_DISCOVERY: boolean found, string expected]"},
		{"not in the enumeration", `{"env":{"ENABLE_SUBNET_DISCOVERY":"yes"}}`, refused + "[$.env.ENABLE_SUBNET_DISCOVERY: does not have a value in the enumeration [true, false]]"},
		{"two at once", `{"a":1,"env":[]}`, refused + "[$.a: is not defined in the schema and the schema does not allow additional properties, $.env: array found, object expected]"},
		{"a list", `[]`, refused + "[$: array found, object expected]"},
		{"neither JSON nor YAML", `{"env"`, "InvalidParameterException: ConfigurationValue provided in request is not supported: it is neither JSON nor YAML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Validate(kinds[0], &test.values)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func FuzzValidate(f *testing.F) {
	kinds, err := Catalogue(Sources{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"env":{"A":"b"}}`)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = Validate(kinds[0], &text) })
}

func TestFieldsThatOthersOwn(t *testing.T) {
	message := `error: Apply failed with 2 conflicts: conflicts with "kubectl-set" using apps/v1:
- .spec.template.spec.containers[name="aws-node"].env[name="WARM_IP_TARGET"].value
- .spec.template.spec.priorityClassName
Please review the fields above--they currently have other managers.`
	fields := conflicting(message)
	want := []string{`.spec.template.spec.containers[name="aws-node"].env[name="WARM_IP_TARGET"].value`, ".spec.template.spec.priorityClassName"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Fatal(diff)
	}
	single := `error: Apply failed with 1 conflict: conflict with "kubectl-set" using apps/v1: .spec.replicas`
	if diff := cmp.Diff([]string{".spec.replicas"}, conflicting(single)); diff != "" {
		t.Error(diff)
	}
	document := documents([]byte(`
spec: {template: {spec: {priorityClassName: x, containers: [{name: aws-node, env: [{name: A, value: b}, {name: WARM_IP_TARGET, value: "1"}]}]}}}
---
`))[0]
	for _, field := range fields {
		remove(document, field)
	}
	wantDocument := documents([]byte(`spec: {template: {spec: {containers: [{name: aws-node, env: [{name: A, value: b}, {name: WARM_IP_TARGET}]}]}}}`))[0]
	if diff := cmp.Diff(wantDocument, document); diff != "" {
		t.Error(diff)
	}
}

func TestRolledOut(t *testing.T) {
	for _, test := range []struct {
		name, json string
		done       bool
	}{
		{"a daemon set", `{"metadata":{"generation":2},"status":{"observedGeneration":2,"desiredNumberScheduled":2,"updatedNumberScheduled":2,"numberReady":2}}`, true},
		{"not seen", `{"metadata":{"generation":3},"status":{"observedGeneration":2,"desiredNumberScheduled":2,"updatedNumberScheduled":2,"numberReady":2}}`, false},
		{"half updated", `{"status":{"desiredNumberScheduled":2,"updatedNumberScheduled":1,"numberReady":2}}`, false},
		{"a deployment", `{"spec":{"replicas":2},"status":{"replicas":2,"updatedReplicas":2,"readyReplicas":2}}`, true},
		{"an old pod is left", `{"spec":{"replicas":2},"status":{"replicas":3,"updatedReplicas":2,"readyReplicas":3}}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "kubectl")
			script := "#!/bin/sh\ncat <<'E'\n" + test.json + "\nE\n"
			if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			done, missing, err := Kubectl{Program: program}.Rollout(t.Context(), "x")
			if err != nil || done != test.done || (missing == "") != done {
				t.Errorf("done %v, missing %q, error %v", done, missing, err)
			}
		})
	}
}

func TestErrorsOfProgramsAreShown(t *testing.T) {
	_, err := run(t.Context(), nil, "/bin/sh", "-c", "echo it is broken >&2; exit 3")
	if err == nil || err.Error() != "it is broken" {
		t.Error(err)
	}
	if _, err := run(t.Context(), nil, "/nonexistent"); err == nil || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
