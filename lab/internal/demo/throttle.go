package demo

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// throttle is the story of an agent that is restarted while EC2 refuses to answer.
type throttle struct {
	*Story
	before string
	held   map[string]string // address by pod that ran before
}

// Throttle plays it.
func (s *Story) Throttle(ctx context.Context) error {
	t := &throttle{Story: s}
	return s.play(ctx, t.fill, t.restart, t.more)
}

const (
	few        = 20
	many       = 32
	pauseImage = "public.ecr.aws/eks-distro/kubernetes/pause:3.7"
)

// await waits until n pods run.
func (t *throttle) await(ctx context.Context, n int) ([]pod, time.Duration, error) {
	var pods []pod
	took, err := t.until(ctx, 2*time.Minute, func() (bool, string, error) {
		var err error
		pods, err = t.pods(ctx)
		running := count(pods, pod.running)
		return running == n && len(pods) == n, fmt.Sprintf("%d of %d pods run", running, n), err
	})
	return pods, took, err
}

func (t *throttle) fill(ctx context.Context) error {
	t.tell("%d pods run", few)
	if _, err := t.run(ctx, "kubectl", "create", "deployment", "inflate", "--image", pauseImage, fmt.Sprintf("--replicas=%d", few)); err != nil {
		return err
	}
	pods, _, err := t.await(ctx, few)
	if err != nil {
		return err
	}
	t.before = identities(pods)
	t.held = map[string]string{}
	for _, p := range pods {
		t.held[p.Metadata.Name] = p.Status.PodIP
	}
	return t.claim(unique(pods), "%d pods, %d addresses", few, few)
}

func (t *throttle) restart(ctx context.Context) error {
	t.tell("EC2 refuses every DescribeSubnets, and the agents are killed")
	f := pacing.Fault{Action: "DescribeSubnets", Caller: "node:*", Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	t.print("$ berth lab fault add DescribeSubnets RequestLimitExceeded --caller 'node:*'")
	if err := t.Lab.VPC(ctx, http.MethodPost, "faults", f, nil); err != nil {
		return err
	}
	if err := t.Lab.VPC(ctx, http.MethodPost, "marks/restart", nil, nil); err != nil {
		return err
	}
	if _, err := t.run(ctx, "kubectl", "delete", "pods", "-n", "kube-system", "-l", "k8s-app=aws-node", "--grace-period=0", "--force"); err != nil {
		return err
	}
	took, err := t.until(ctx, 3*time.Minute, func() (bool, string, error) {
		agents, err := t.pods(ctx, "-n", "kube-system", "-l", "k8s-app=aws-node")
		ready := count(agents, pod.running)
		return ready == 2 && len(agents) == 2, fmt.Sprintf("%d of 2 agents are ready", ready), err
	})
	if err != nil {
		return err
	}
	return t.claim(took < 30*time.Second, "the agents are ready again after %.1f s (the existing CNI: 135 s)", took.Seconds())
}

func (t *throttle) more(ctx context.Context) error {
	t.tell("%d more pods, with the agents' memory gone and EC2 still refusing", many-few)
	if _, err := t.run(ctx, "kubectl", "scale", "deployment", "inflate", fmt.Sprintf("--replicas=%d", many)); err != nil {
		return err
	}
	pods, took, err := t.await(ctx, many)
	if err != nil {
		return err
	}
	all, err := t.pods(ctx, "--all-namespaces")
	if err != nil {
		return err
	}
	var counts []pacing.CallCount
	if err := t.Lab.VPC(ctx, http.MethodGet, "calls?mark=restart", nil, &counts); err != nil {
		return err
	}
	refused := 0
	for _, c := range counts {
		if c.Action == "DescribeSubnets" && c.Outcome == "RequestLimitExceeded" {
			refused += c.Count
		}
	}
	t.tabulate(all, firstBlock)
	kept, now := true, identities(pods)
	for line := range strings.SplitSeq(t.before, "\n") {
		kept = kept && strings.Contains(now, line)
	}
	for _, p := range pods {
		if address, was := t.held[p.Metadata.Name]; was && address != p.Status.PodIP {
			kept = false
		}
	}
	for _, c := range []struct {
		ok   bool
		said string
	}{
		{refused > 0, fmt.Sprintf("EC2 refused %d calls of DescribeSubnets meanwhile", refused)},
		{len(pods) == many, fmt.Sprintf("%d new pods run after %.1f s", many-few, took.Seconds())},
		{kept, "every pod from before runs on with its address"},
		{unique(all), "no address was given twice (the existing CNI: 9 of 9)"},
	} {
		if err := t.claim(c.ok, "%s", c.said); err != nil {
			return err
		}
	}
	return nil
}
