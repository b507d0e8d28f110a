package enforce

import (
	"context"
	"fmt"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// Guard is an Enforcer in the words of a node's loop.
type Guard struct {
	*Enforcer
	// Index is the index of a link of the host.
	Index func(link string) (int, error)
	// VethPrefix is what the names of pods' links begin with.
	VethPrefix string
}

// Admit returns once packets of a wired pod are judged by its policies. With an error the pod must not start.
func (g Guard) Admit(ctx context.Context, pod hostnet.Pod, wired hostnet.Wired) error {
	index, err := g.Index(wired.HostVeth)
	if err != nil {
		return fmt.Errorf("find link %s of pod %s/%s: %w", wired.HostVeth, pod.Namespace, pod.Name, err)
	}
	return g.Enforcer.Admit(ctx, attachmentOf(pod, index))
}

// Release ends that, once the pod's wiring is gone. What is gone is success.
func (g Guard) Release(pod hostnet.Pod) { g.Enforcer.Release(hostnet.Alias(pod.Key)) }

// Sync tells of all pods that are wired, and of the host's links. A pod whose link is not there is as good as gone.
func (g Guard) Sync(pods []hostnet.Pod, links []hostnet.Link) {
	byAlias, byName := make(map[string]int, len(links)), make(map[string]int, len(links))
	for _, l := range links {
		if l.Alias != "" {
			byAlias[l.Alias] = l.Index
		} else {
			byName[l.Name] = l.Index // the existing CNI made it
		}
	}
	var all []Attachment
	for _, p := range pods {
		index, ok := byAlias[hostnet.Alias(p.Key)]
		if !ok {
			index, ok = byName[hostnet.VethName(g.VethPrefix, p.Namespace, p.Name)]
		}
		if ok {
			all = append(all, attachmentOf(p, index))
		}
	}
	g.Enforcer.Sync(all)
}

func attachmentOf(p hostnet.Pod, ifindex int) Attachment {
	return Attachment{ID: hostnet.Alias(p.Key), Namespace: p.Namespace, Name: p.Name, UID: p.UID, Addrs: p.Addrs, Ifindex: ifindex}
}
