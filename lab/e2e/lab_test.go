package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/lab/internal/world"
)

// lab is a running lab and the environment of its clients.
type lab struct {
	*testing.T
	repo string
	env  []string
}

// start brings a lab up, and takes it down when the test ends.
func start(t *testing.T, args ...string) *lab {
	t.Helper()
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, repo: repo}
	testkit.RequireRoot(t)
	if _, err := os.Stat(filepath.Join(repo, "bin/berth-lab")); err != nil {
		t.Fatal("the lab is not built: make lab")
	}
	if _, running := world.Running(); running {
		t.Fatal("a lab is running: bin/berth-lab down")
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		if out, err := l.try(context.WithoutCancel(t.Context()), "berth-lab", "down"); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
	})
	l.run("berth-lab", append([]string{"up", "-f", "../internal/demo/cluster.yaml"}, args...)...)
	for line := range strings.SplitSeq(strings.TrimSpace(l.run("berth-lab", "env")), "\n") {
		l.env = append(l.env, strings.ReplaceAll(strings.TrimPrefix(line, "export "), "'", ""))
	}
	return l
}

// keepLogs puts what one wants to see of a failed run into the log.
func (l *lab) keepLogs() {
	l.Helper()
	for _, args := range [][]string{
		{"kubectl", "get", "pods", "-A", "-o", "wide"},
		{"kubectl", "get", "events", "-A", "--field-selector", "type=Warning"},
		{"kubectl", "logs", "-n", "kube-system", "-l", "k8s-app=aws-node", "--tail=60", "--prefix"},
	} {
		out, err := l.try(context.Background(), args[0], args[1:]...)
		l.Logf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// command is a program of the lab.
func (l *lab) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	program := filepath.Join(l.repo, ".cache/bin", name)
	if strings.HasPrefix(name, "berth") {
		program = filepath.Join(l.repo, "bin", name)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + filepath.Join(l.repo, ".cache/bin") + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, l.env...)
	return cmd
}

// try runs a program of the lab.
func (l *lab) try(ctx context.Context, name string, args ...string) (string, error) {
	cmd := l.command(ctx, name, args...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
	}
	return string(out), err
}

func (l *lab) run(name string, args ...string) string {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 4*time.Minute)
	defer cancel()
	out, err := l.try(ctx, name, args...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

func (l *lab) kubectl(args ...string) string {
	l.Helper()
	return l.run("kubectl", args...)
}

// apply applies a manifest.
func (l *lab) apply(manifest string) {
	l.Helper()
	l.kubectl("apply", "-f", l.file("manifest.yaml", manifest))
}

// file writes a file that lasts as long as the test.
func (l *lab) file(name, text string) string {
	l.Helper()
	file := filepath.Join(l.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		l.Fatal(err)
	}
	return file
}

// until waits for something that comes about by itself.
func (l *lab) until(limit time.Duration, what string, ok func() error) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), limit)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			l.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

// pod is what tests look at.
type pod struct {
	Metadata struct{ Name string }
	Spec     struct{ NodeName string }
	Status   struct {
		Phase, PodIP string
		Conditions   []struct{ Type, Status string }

		ContainerStatuses []struct{ RestartCount int }
	}
}

func (p pod) restarts() int {
	n := 0
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

func (p pod) ready() bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status string }) bool { return c.Type == "Ready" && c.Status == "True" })
}

func (l *lab) pods(selector string) []pod {
	l.Helper()
	var list struct{ Items []pod }
	if err := json.Unmarshal([]byte(l.kubectl("get", "pods", "-l", selector, "-o", "json")), &list); err != nil {
		l.Fatal(err)
	}
	return list.Items
}

// ready waits until n pods are ready and returns them.
func (l *lab) ready(selector string, n int) []pod {
	l.Helper()
	var pods []pod
	l.until(2*time.Minute, fmt.Sprintf("%d pods %s", n, selector), func() error {
		pods = l.pods(selector)
		is := 0
		for _, p := range pods {
			if p.ready() {
				is++
			}
		}
		if is != n || len(pods) != n {
			return fmt.Errorf("%d of %d are ready", is, len(pods))
		}
		return nil
	})
	return pods
}

func (l *lab) status() world.Status {
	l.Helper()
	var s world.Status
	if err := json.Unmarshal([]byte(l.run("berth-lab", "status", "-o", "json")), &s); err != nil {
		l.Fatal(err)
	}
	return s
}

// get fetches a page from inside a pod.
func (l *lab) get(from pod, url string) (string, error) {
	out, err := l.try(l.Context(), "kubectl", "exec", from.Metadata.Name, "--", "curl", "-sSk", "-m", "4", url)
	return strings.TrimSpace(out), err
}

// getOutside fetches a page from an instance outside the cluster.
func (l *lab) getOutside(instance, url string) (string, error) {
	out, err := l.try(l.Context(), "berth-lab", "exec", instance, "--", "curl", "-sS", "-m", "4", url)
	return strings.TrimSpace(out), err
}

// want fails the test unless a page was what it should be.
func (l *lab) want(what, want, got string, err error) {
	l.Helper()
	switch {
	case err != nil:
		l.Errorf("%s: %v", what, err)
	case !strings.HasPrefix(got, want):
		l.Errorf("%s: got %q, want %q", what, got, want)
	}
}

var errStill = errors.New("it still does")
