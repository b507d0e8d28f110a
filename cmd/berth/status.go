package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/node"
)

// Where the agents are and where they tell their state: beside the metrics, so that the API server can ask for it.
const (
	agentNamespace = "kube-system"
	agentSelector  = "app.kubernetes.io/component=berth-agent"
	reportPort     = "61678"
	reportPath     = "v1/status"
	// askLimit is how long an agent may take to answer; askMany how many are asked at once.
	askLimit = 10 * time.Second
	askMany  = 32
)

// agent is what one agent said, or why nothing is known of it.
type agent struct {
	Node     string       `json:"node"`
	Version  string       `json:"version,omitempty"`
	Degraded []string     `json:"degraded,omitempty"`
	Report   *node.Report `json:"report,omitempty"`
	// Share is how berth-controller divides EC2's buckets as the agent follows it, until a moment by the agent's clock; none while
	// no share counts there.
	Share      *kube.Share `json:"share,omitempty"`
	ShareUntil time.Time   `json:"shareUntil,omitzero"`
	Error      string      `json:"error,omitempty"`
}

// subnetTotal is a subnet as all agents together see it.
type subnetTotal struct {
	ID     vpc.SubnetID `json:"id"`
	CIDR   netip.Prefix `json:"cidr"`
	Free   int          `json:"free"`
	Ours   int          `json:"ours"`
	Others int          `json:"others"`
	Usable bool         `json:"usable"`
	Why    string       `json:"why"`
}

// clusterStatus is what the command prints.
type clusterStatus struct {
	Nodes   []agent       `json:"nodes"`
	Subnets []subnetTotal `json:"subnets"`
}

func statusCommand(getenv func(string) string, out io.Writer) *cobra.Command {
	var kubeconfig, kubeContext, output string
	cmd := &cobra.Command{
		Use: "status", Short: "Addresses by node and by subnet, and what pods wait for", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output: want json, got %q", output)
			}
			client, err := connect(getenv, kubeconfig, kubeContext)
			if err != nil {
				return err
			}
			agents, err := askAgents(cmd.Context(), client)
			if err != nil {
				return err
			}
			status := clusterStatus{Nodes: agents, Subnets: totals(agents)}
			if output == "json" {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(status)
			}
			return status.print(out)
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file")
	cmd.Flags().StringVar(&kubeContext, "context", "", "context of the kubeconfig file")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json instead of tables")
	return cmd
}

// connect finds the cluster as kubectl does.
func connect(getenv func(string) string, file, context string) (*rest.RESTClient, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if paths := getenv("KUBECONFIG"); paths != "" {
		rules.Precedence = strings.Split(paths, ":")
	}
	rules.ExplicitPath = file
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.UserAgent, config.QPS, config.Burst = "berth", 100, 200
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return client, nil
}

// askAgents asks every agent for its report, through the API server.
func askAgents(ctx context.Context, client rest.Interface) ([]agent, error) {
	var pods corev1.PodList
	err := client.Get().Namespace(agentNamespace).Resource("pods").
		VersionedParams(&metav1.ListOptions{LabelSelector: agentSelector}, scheme.ParameterCodec).Do(ctx).Into(&pods)
	if err != nil {
		return nil, fmt.Errorf("list the agents' pods: %w", err)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("no pod in %s has the label %s: is berth installed in this cluster?", agentNamespace, agentSelector)
	}
	agents := make([]agent, len(pods.Items))
	var group sync.WaitGroup
	slots := make(chan struct{}, askMany)
	for i, pod := range pods.Items {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			agents[i] = askAgent(ctx, client, pod)
		})
	}
	group.Wait()
	slices.SortFunc(agents, func(a, b agent) int { return cmp.Compare(a.Node, b.Node) })
	return agents, nil
}

func askAgent(ctx context.Context, client rest.Interface, pod corev1.Pod) agent {
	a := agent{Node: pod.Spec.NodeName}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	data, err := client.Get().Namespace(pod.Namespace).Resource("pods").Name(pod.Name + ":" + reportPort).
		SubResource("proxy").Suffix(reportPath).Do(ctx).Raw()
	var said struct {
		Version    string
		Degraded   []string
		Node       node.Report
		Share      *kube.Share
		ShareUntil time.Time
	}
	if err == nil {
		err = json.Unmarshal(data, &said)
	}
	if err != nil {
		a.Error = reason(pod, err)
		return a
	}
	a.Share, a.ShareUntil = said.Share, said.ShareUntil
	a.Version, a.Report, a.Degraded = said.Version, &said.Node, slices.Concat(said.Node.Degraded, said.Degraded)
	return a
}

// reason says why an agent has not answered: what the kubelet says of its container comes first.
func reason(pod corev1.Pod, err error) string {
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return strings.TrimSpace("agent is in " + w.Reason + ": " + w.Message)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("agent has not answered within %s", askLimit)
	}
	return err.Error()
}

// totals adds up what the agents know of each subnet. Free counts are EC2's; the lowest is the newest in a cluster that
// fills up, and the safe one otherwise.
func totals(agents []agent) []subnetTotal {
	byID := map[vpc.SubnetID]*subnetTotal{}
	for _, a := range agents {
		if a.Report == nil {
			continue
		}
		for _, s := range a.Report.Subnets {
			t, ok := byID[s.ID]
			if !ok {
				t = &subnetTotal{ID: s.ID, CIDR: s.CIDR, Free: s.Free, Usable: s.Usable, Why: string(s.Why)}
				byID[s.ID] = t
			}
			t.Free = min(t.Free, s.Free)
			t.Ours += s.Ours
		}
	}
	var out []subnetTotal
	for _, t := range byID {
		const reserved = 5 // of every subnet, by EC2
		all := 1<<(32-t.CIDR.Bits()) - reserved
		t.Free = max(0, min(t.Free, all-t.Ours)) // an agent that needs nothing asks EC2 seldom
		t.Others = all - t.Free - t.Ours
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b subnetTotal) int { return a.CIDR.Addr().Compare(b.CIDR.Addr()) })
	return out
}

func (s clusterStatus) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NODE\tSTATE\tENIS\tSUBNETS\tIN USE\tFREE\tCOOLING\tHELD\tWAITING\tSHARE")
	for _, a := range s.Nodes {
		_, _ = fmt.Fprintln(t, strings.Join(a.row(), "\t"))
	}
	_, _ = fmt.Fprintln(t)
	_, _ = fmt.Fprintln(t, "SUBNET\tCIDR\tFREE\tOURS\tOTHERS\tUSABLE\tWHY")
	for _, n := range s.Subnets {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%t\t%s\n", n.ID, n.CIDR, n.Free, n.Ours, n.Others, n.Usable, n.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, a := range s.Nodes {
		if why := a.why(); why != "" {
			_, _ = fmt.Fprintf(out, "\n%s: %s\n", a.Node, why)
		}
	}
	return nil
}

// why says what pods of a node wait for, and what is not as it should be.
func (a agent) why() string {
	if a.Report == nil {
		return a.Error
	}
	lines := slices.Clone(a.Degraded)
	if a.Report.Starting != "" {
		lines = slices.Insert(lines, 0, "waits for "+a.Report.Starting)
	}
	if a.Report.Blocked.Why != "" {
		lines = slices.Insert(lines, 0, a.Report.Blocked.String())
	}
	return strings.Join(lines, "; ")
}

// row is a node's line.
func (a agent) row() []string {
	r := a.Report
	if r == nil {
		return []string{a.Node, "unknown", "-", "-", "-", "-", "-", "-", "-", "-"}
	}
	state := "ready"
	switch {
	case !r.Ready:
		state = "starting"
	case len(a.Degraded) > 0:
		state = "degraded"
	}
	var subnets []string
	for _, e := range r.ENIs {
		if cidr := e.SubnetCIDR.String(); e.SubnetCIDR.IsValid() && !slices.Contains(subnets, cidr) {
			subnets = append(subnets, cidr)
		}
	}
	n := func(i int) string { return fmt.Sprint(i) }
	return []string{
		a.Node, state, fmt.Sprintf("%d/%d", len(r.ENIs), r.MaxENIs), strings.Join(subnets, ","),
		n(r.Tally.InUse), n(r.Tally.Free), n(r.Tally.Cooling), n(r.Tally.Held), n(r.Tally.Waiting), a.share(),
	}
}

// share is among how many nodes that wait, of all, EC2's buckets are divided.
func (a agent) share() string {
	if a.Share == nil {
		return "none"
	}
	return fmt.Sprintf("%d/%d", a.Share.Hungry, a.Share.Nodes)
}
