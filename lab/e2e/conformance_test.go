package e2e

import (
	"bufio"
	"context"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/world"
)

// conformanceModule has upstream's ClusterNetworkPolicy: its resource, and the tests that every implementation is to pass.
const conformanceModule = "sigs.k8s.io/network-policy-api"

// conformanceFlags choose the whole profile, with the features that are extra.
var conformanceFlags = []string{
	"-test.v", "-test.timeout=38m", "-test.run=^TestConformanceProfiles$", "-conformance-profiles=ClusterNetworkPolicy",
	"-supported-features=ClusterNetworkPolicyNamedPorts,ClusterNetworkPolicyEgressNodePeers",
	// what a report has to name
	"-organization=berth", "-project=berth", "-url=berth", "-version=lab", "-contact=berth", "-additional-info=lab",
}

// TestClusterSuiteOfNetworkPolicyAPI runs the conformance tests of the network policy API, unmodified.
func TestClusterSuiteOfNetworkPolicyAPI(t *testing.T) {
	l := start(t)
	module := filepath.Join(l.repo, "lab/conformance")
	program := filepath.Join(l.repo, ".cache/bin/network-policy-api.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", program, conformanceModule+"/conformance")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the suite: %v\n%s", err, out)
	}
	where := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", conformanceModule)
	where.Dir = module
	dir, err := where.Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	l.agnhost("registry.k8s.io/e2e-test-images/agnhost:2.45") // the one that the suite asks for
	l.enforce("true")
	// After the agents: they must notice a kind that comes under them.
	l.kubectl("apply", "-f", filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml"))
	l.until(30*time.Second, "ClusterNetworkPolicies served", func() error {
		_, err := l.try(l.Context(), "kubectl", "get", "clusternetworkpolicies.policy.networking.k8s.io")
		return err
	})
	l.conformance(program)
}

// agnhost loads the lab's agnhost under another name, too.
func (l *lab) agnhost(name string) {
	l.Helper()
	spec := image.Agnhost(world.PathsOf(l.repo).Cache())
	spec.Names = []string{name}
	archive := filepath.Join(l.TempDir(), "agnhost.tar")
	if err := image.Write(spec, archive); err != nil {
		l.Fatal(err)
	}
	l.run("berth-lab", "image", "load", archive)
}

// conformance runs the suite, and puts what became of each case into a JUnit file.
func (l *lab) conformance(program string) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 40*time.Minute)
	defer cancel()
	dir := l.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := l.command(ctx, "kubectl")
	cmd.Path, cmd.Args = program, append([]string{program, "-report-output=" + filepath.Join(dir, "report.yaml")}, conformanceFlags...)
	cmd.Stdout, cmd.Stderr = log, log
	failed := cmd.Run()
	cases, err := casesOf(log.Name())
	if err != nil {
		l.Fatal(err)
	}
	data, err := xml.MarshalIndent(junitOf("network-policy-api", cases), "", "  ")
	if err != nil {
		l.Fatal(err)
	}
	l.keepJUnit("network-policy-api", data)
	l.judge("network-policy-api", data)
	if failed != nil {
		l.Errorf("network-policy-api: %v\n%s", failed, tail(log.Name()))
	}
}

// ended is the line with which a Go test says what became of one.
var ended = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// casesOf reads the innermost tests from the output of a Go test.
func casesOf(file string) ([]junitCase, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []junitCase
	outer := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := ended.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		c := junitCase{Name: m[2], Time: m[3], Status: map[string]string{"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[m[1]]}
		switch c.Status {
		case "failed":
			c.Failure = &junitMessage{Message: "see the log of the test"}
		case "skipped":
			c.Skipped = &junitMessage{Message: "the suite leaves it out"}
		}
		all = append(all, c)
		for at := c.Name; strings.Contains(at, "/"); {
			at = at[:strings.LastIndex(at, "/")]
			outer[at] = true
		}
	}
	var inner []junitCase
	for _, c := range all {
		if !outer[c.Name] {
			inner = append(inner, c)
		}
	}
	return inner, lines.Err()
}

func TestCasesOfAGoTest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	text := "=== RUN   TestA\n    --- PASS: TestA/one (0.31s)\n--- FAIL: TestA/two/x (1.00s)\n        --- SKIP: TestA/two/y (0.00s)\n    --- FAIL: TestA/two (1.00s)\n--- FAIL: TestA (1.31s)\nFAIL\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := casesOf(file)
	if err != nil || len(cases) != 3 {
		t.Fatalf("%+v, %v", cases, err)
	}
	for i, want := range []string{"passed TestA/one 0.31", "failed TestA/two/x 1.00", "skipped TestA/two/y 0.00"} {
		if got := cases[i].Status + " " + cases[i].Name + " " + cases[i].Time; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
