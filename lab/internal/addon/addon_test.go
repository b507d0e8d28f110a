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

	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
)

// cluster is an installer that remembers what was applied.
type cluster struct {
	mu       sync.Mutex
	applied  []string
	deleted  []string
	conflict error
	ready    bool
	rollout  func(context.Context) (bool, string, error) // instead of ready, where set
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

func (c *cluster) Rollout(ctx context.Context, _ string) (bool, string, error) {
	if c.rollout != nil {
		return c.rollout(ctx)
	}
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

func find(s *Store, name string) eks.Addon {
	for _, a := range s.Addons() {
		if a.Name == name {
			return a
		}
	}
	return eks.Addon{}
}

func TestLifeOfAnAddon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{ready: true}
		s := open(t, c, filepath.Join(t.TempDir(), "addons.json"))
		if err := s.Apply(eks.AddonChange{Name: CoreDNS}); err == nil || !strings.Contains(err.Error(), "No addon: coredns found") {
			t.Error(err)
		}
		if err := s.Apply(eks.AddonChange{Name: CoreDNS, Create: true}); err != nil {
			t.Fatal(err)
		}
		if a := find(s, CoreDNS); a.Status != eks.Creating {
			t.Errorf("%+v", a)
		}
		s.Wait()
		if a := find(s, CoreDNS); a.Status != eks.Active {
			t.Fatalf("%+v", a)
		}
		if err := s.Apply(eks.AddonChange{Name: CoreDNS, UpdateID: "u", ConfigurationValues: new(`{"replicaCount": 3}`)}); err != nil {
			t.Fatal(err)
		}
		if a := find(s, CoreDNS); a.Status != eks.Updating || a.UpdateID != "u" {
			t.Errorf("%+v", a)
		}
		s.Wait()
		if last := c.applied[len(c.applied)-1]; !strings.Contains(last, "replicas: 3") {
			t.Error(last)
		}
		if err := s.Apply(eks.AddonChange{Name: CoreDNS, UpdateID: "v"}); err != nil {
			t.Fatal(err)
		}
		s.Wait()
		if last := c.applied[len(c.applied)-1]; !strings.Contains(last, "replicas: 3") {
			t.Error("an update without values forgets the ones before")
		}
		if again := open(t, c, s.options.File); find(again, CoreDNS).Status != eks.Active {
			t.Errorf("after reading the file again: %v", again.Addons())
		}
		if err := s.Remove(CoreDNS, true); err != nil {
			t.Fatal(err)
		}
		s.Wait()
		if len(c.deleted) != 0 || len(s.Addons()) != 0 {
			t.Errorf("deleted %d, left %v", len(c.deleted), s.Addons())
		}
	})
}

func TestRolloutThatDoesNotComeAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &cluster{}, "")
		if err := s.Apply(eks.AddonChange{Name: CoreDNS, Create: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(eks.AddonChange{Name: CoreDNS}); err == nil || !strings.Contains(err.Error(), "currently in CREATING State") {
			t.Error(err)
		}
		if err := s.Remove(CoreDNS, false); err == nil || !strings.Contains(err.Error(), "currently in CREATING State") {
			t.Errorf("an add-on is removed while it is created: %v", err)
		}
		s.Wait()
		a := find(s, CoreDNS)
		want := []eks.Issue{{Code: "InsufficientNumberOfReplicas", Message: "daemonset/aws-node: 1 of 2 pods are ready", Resources: []string{"deployment/coredns"}}}
		if diff := cmp.Diff(want, a.Issues); a.Status != eks.Degraded || diff != "" {
			t.Errorf("%s %s", a.Status, diff)
		}
	})
}

func TestRolloutWhoseQuestionTheLimitCutsOffIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{rollout: func(ctx context.Context) (bool, string, error) {
			<-ctx.Done()
			return false, "", ctx.Err()
		}}
		if missing := open(t, c, "").await("deployment/coredns"); missing == "" {
			t.Error("it counts as rolled out")
		}
	})
}

// The limit of these tests is a minute.
func TestRolloutOnASlowMachine(t *testing.T) {
	for _, tc := range []struct {
		name   string
		states []string // one every 50 s, the last one for good; "" is done
		want   string
		took   time.Duration
	}{
		{"each state takes nearly the limit", []string{"not seen yet", "0 of 2", "1 of 2", ""}, "", 3 * time.Minute},
		{"stuck", []string{"not seen yet", "1 of 2"}, "1 of 2", 2 * time.Minute},
		{"to and fro", []string{"0 of 2", "1 of 2", "0 of 2", "1 of 2", "0 of 2", "1 of 2", "0 of 2"}, "1 of 2", 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				c := &cluster{rollout: func(context.Context) (bool, string, error) {
					state := tc.states[min(int(time.Since(began)/(50*time.Second)), len(tc.states)-1)]
					return state == "", state, nil
				}}
				if got := open(t, c, "").await("deployment/coredns"); (got == "") != (tc.want == "") {
					t.Errorf("missing is %q, want %q", got, tc.want)
				}
				if took := time.Since(began); took > tc.took {
					t.Errorf("took %s, at most %s was wanted", took, tc.took)
				}
			})
		})
	}
}

func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{ready: true, conflict: &ConflictError{Resource: "Deployment coredns", Fields: []string{".spec.replicas"}}}
		s := open(t, c, "")
		for how, want := range map[Conflicts]eks.AddonStatus{"": eks.CreateFailed, Overwrite: eks.Active} {
			if err := s.Apply(eks.AddonChange{Name: CoreDNS, Create: true, ResolveConflicts: string(how)}); err != nil {
				t.Fatal(err)
			}
			s.Wait()
			if a := find(s, CoreDNS); a.Status != want {
				t.Errorf("%q: %+v", how, a)
			}
			if err := s.Remove(CoreDNS, false); err != nil {
				t.Fatal(err)
			}
			s.Wait()
		}
	})
}

func TestRefusedChanges(t *testing.T) {
	s := open(t, &cluster{ready: true}, "")
	for name, change := range map[string]eks.AddonChange{
		"Addon version specified is not supported": {Name: CNI, Create: true, Version: new("v1.0.0")},
		"Addon ebs-csi specified is not supported": {Name: "ebs-csi", Create: true},
	} {
		if err := s.Apply(change); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

func TestSchemas(t *testing.T) {
	s := open(t, &cluster{}, "")
	schemas := map[string]string{}
	for _, v := range s.Catalogue("1.35") {
		schemas[v.Addon] = v.Schema
	}
	for _, test := range []struct{ name, addon, values, want string }{
		{"the walkthrough's", CNI, `{"env":{"ENABLE_SUBNET_DISCOVERY":"true"}}`, ""},
		{"YAML", CNI, "env:\n  WARM_IP_TARGET: \"5\"\n", ""},
		{"unknown key", CNI, `{"envs":{}}`, "$.envs"},
		{"unknown variable", CNI, `{"env":{"WARM_IP":"1"}}`, "$.env.WARM_IP"},
		{"number for text", CNI, `{"env":{"WARM_IP_TARGET":5}}`, "$.env.WARM_IP_TARGET"},
		{"not in the enumeration", CNI, `{"env":{"ENABLE_SUBNET_DISCOVERY":"yes"}}`, "$.env.ENABLE_SUBNET_DISCOVERY"},
		{"replicas", CoreDNS, `{"replicaCount":4}`, ""},
		{"no replicas", CoreDNS, `{"replicaCount":0}`, "$.replicaCount"},
		{"kube-proxy has none", KubeProxy, `{"mode":"ipvs"}`, "$.mode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := eks.ValidateConfiguration(schemas[test.addon], test.values)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
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

func TestMergeOfValues(t *testing.T) {
	base := map[string]any{"env": map[string]any{"A": "1", "B": "2"}, "extraEnv": []any{"x"}, "tolerations": []any{"x"}}
	got := merge(merge(base, webIdentity("arn")), map[string]any{"env": map[string]any{"B": "3"}, "extraEnv": []any{"y"}, "tolerations": []any{"y"}})
	if env := got["env"].(map[string]any); env["A"] != "1" || env["B"] != "3" {
		t.Error(env)
	}
	if n := len(got["extraEnv"].([]any)); n != 4 {
		t.Errorf("%d entries of extraEnv, want those of the lab, of the role and of the user", n)
	}
	if diff := cmp.Diff([]any{"y"}, got["tolerations"]); diff != "" {
		t.Error(diff)
	}
	if base["env"].(map[string]any)["B"] != "2" {
		t.Error("the base was changed")
	}
}
