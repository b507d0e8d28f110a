package e2e

import (
	"bufio"
	"context"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// junit is what of a JUnit file counts.
type junit struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name  string      `xml:"name,attr"`
	Tests int         `xml:"tests,attr"`
	Cases []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Status  string        `xml:"status,attr"`
	Time    string        `xml:"time,attr"` // in seconds
	Skipped *junitMessage `xml:"skipped"`
	Failure *junitMessage `xml:"failure"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

func junitOf(name string, cases []junitCase) junit {
	return junit{Suites: []junitSuite{{Name: name, Tests: len(cases), Cases: cases}}}
}

// TestClusterSuiteOfKubernetes runs Kubernetes' own end-to-end tests of NetworkPolicy, unmodified.
func TestClusterSuiteOfKubernetes(t *testing.T) {
	l := start(t)
	program := filepath.Join(l.repo, ".cache/bin/netpol-e2e")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "./cmd/netpol-e2e")
	build.Dir = filepath.Join(l.repo, "lab/kube")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the suite: %v\n%s", err, out)
	}
	l.enforce("true")
	// Without a focus the framework leaves out all that has a feature, which all of these have.
	args := []string{"-provider=skeleton", "-ginkgo.v", "-ginkgo.no-color", "-ginkgo.focus=Netpol", "-delete-namespace-on-failure=true"}
	l.suite("netpol", program, args...)
}

// hasSCTP tells whether the kernel has the protocol.
func hasSCTP() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// suite runs a program of ginkgo, tells of each case as it ends, and puts its JUnit file into out/e2e.
func (l *lab) suite(name, program string, args ...string) {
	l.Helper()
	dir := l.TempDir()
	ctx, cancel := context.WithTimeout(l.Context(), 40*time.Minute)
	defer cancel()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := l.command(ctx, "kubectl")
	cmd.Path, cmd.Args = program, append(append([]string{program}, args...), "-report-dir="+dir)
	for _, e := range l.env {
		if config, ok := strings.CutPrefix(e, "KUBECONFIG="); ok {
			cmd.Args = append(cmd.Args, "-kubeconfig="+config)
		}
	}
	cmd.Stdout, cmd.Stderr = log, log
	failed := cmd.Run()
	data, err := os.ReadFile(filepath.Join(dir, "junit_01.xml"))
	if err != nil {
		l.Fatalf("%s: %v, %v\n%s", name, failed, err, tail(log.Name()))
	}
	l.keepJUnit(name, data)
	l.judge(name, data)
	if failed != nil {
		l.Errorf("%s: %v\n%s", name, failed, tail(log.Name()))
	}
}

// keepJUnit puts a suite's file where people look for it.
func (l *lab) keepJUnit(name string, data []byte) {
	l.Helper()
	out := filepath.Join(l.repo, "out/e2e")
	if err := os.MkdirAll(out, 0o755); err != nil {
		l.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, name+".xml"), data, 0o644); err != nil {
		l.Fatal(err)
	}
}

// judge counts cases.
func (l *lab) judge(name string, data []byte) {
	l.Helper()
	var report junit
	if err := xml.Unmarshal(data, &report); err != nil {
		l.Fatal(err)
	}
	passed, skipped := 0, 0
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			switch {
			case c.Status == "passed":
				passed++
			case c.Skipped != nil || c.Status == "skipped":
				skipped++
				l.Logf("%s: skipped: %s", name, c.Name)
			default:
				l.Errorf("%s: %s: %s", name, c.Status, c.Name)
			}
		}
	}
	l.Logf("%s: %d passed, %d skipped; the kernel has SCTP: %v, without it lab-sctp speaks it over raw sockets", name, passed, skipped, hasSCTP())
	if passed < 30 {
		l.Errorf("%s: %d cases passed, the suite has more", name, passed)
	}
}

// tail is the end of a file.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if lines = append(lines, s.Text()); len(lines) > 60 {
			lines = lines[1:]
		}
	}
	return strings.Join(lines, "\n")
}
