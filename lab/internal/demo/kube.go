package demo

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// pod is what a story looks at.
type pod struct {
	Metadata struct {
		Name, UID         string
		DeletionTimestamp *time.Time
	}
	Spec struct {
		NodeName    string
		HostNetwork bool
	}
	Status struct {
		Phase             string
		PodIP             string
		ContainerStatuses []struct {
			Ready        bool
			RestartCount int
			State        struct{ Waiting *struct{ Reason string } }
		}
	}
}

// running tells whether every container is ready.
func (p pod) running() bool {
	if p.Status.Phase != "Running" || len(p.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if !c.Ready {
			return false
		}
	}
	return true
}

// creating tells what `kubectl get pods` calls ContainerCreating.
func (p pod) creating() bool {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason == "ContainerCreating" {
			return true
		}
	}
	return false
}

func (s *Story) pods(ctx context.Context, args ...string) ([]pod, error) {
	var list struct{ Items []pod }
	if err := s.read(ctx, &list, append([]string{"kubectl", "get", "pods", "-o", "json"}, args...)...); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p pod) bool { return p.Metadata.DeletionTimestamp != nil }), nil
}

func count(pods []pod, is func(pod) bool) int {
	n := 0
	for _, p := range pods {
		if is(p) {
			n++
		}
	}
	return n
}

// addressed are the addresses of the pods that have one of their own, by node.
func addressed(pods []pod) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, p := range pods {
		if address, err := netip.ParseAddr(p.Status.PodIP); err == nil && !p.Spec.HostNetwork {
			out[p.Spec.NodeName] = append(out[p.Spec.NodeName], address)
		}
	}
	return out
}

// identities say which pods run and how often they were restarted: equal means that nothing was.
func identities(pods []pod) string {
	var lines []string
	for _, p := range pods {
		restarts := 0
		for _, c := range p.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
		lines = append(lines, fmt.Sprintf("%s %s %d", p.Metadata.Name, p.Metadata.UID, restarts))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// tabulate shows the pods of each node by the block that their address is from.
func (s *Story) tabulate(pods []pod, blocks ...netip.Prefix) {
	byNode := addressed(pods)
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	header := []string{"NODE", "POD ADDRESSES"}
	for _, b := range blocks {
		header = append(header, "FROM "+b.String())
	}
	_, _ = fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		row := []string{node, strconv.Itoa(len(byNode[node]))}
		for _, b := range blocks {
			n := 0
			for _, a := range byNode[node] {
				if b.Contains(a) {
					n++
				}
			}
			row = append(row, strconv.Itoa(n))
		}
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // into memory
	s.print(indent(text.String()))
}
