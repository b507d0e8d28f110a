package enforce

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/run"
)

// Guard is an Enforcer in the words of a node's loop.
type Guard struct {
	*Enforcer
	// Index is the index of a link of the host.
	Index func(link string) (int, error)
	// Addrs are the addresses of the node.
	Addrs func() ([]netip.Addr, error)
	// VethPrefix is what the names of pods' links begin with.
	VethPrefix string

	addrs []netip.Addr // when they were last known
}

// Admit returns once packets of a wired pod are judged by its policies. With an error the pod must not start.
func (g *Guard) Admit(ctx context.Context, pod hostnet.Pod, wired hostnet.Wired) error {
	index, err := g.Index(wired.HostVeth)
	if err != nil {
		return fmt.Errorf("find link %s of pod %s/%s: %w", wired.HostVeth, pod.Namespace, pod.Name, err)
	}
	return g.Enforcer.Admit(ctx, attachmentOf(pod, index))
}

// Release ends that, once the pod's wiring is gone. What is gone is success.
func (g *Guard) Release(pod hostnet.Pod) { g.Enforcer.Release(hostnet.Alias(pod.Key)) }

// Sync tells of all pods that are wired, and of the host's links. A pod whose link is not there is as good as gone.
func (g *Guard) Sync(pods []hostnet.Pod, links []hostnet.Link) {
	byAlias, byName := make(map[string]int, len(links)), make(map[string]int, len(links))
	for _, l := range links {
		if l.Alias != "" {
			byAlias[l.Alias] = l.Index
		} else {
			byName[l.Name] = l.Index // the existing CNI made it
		}
	}
	var (
		all   []Attachment
		ofPod = make(map[int]bool, len(pods))
	)
	for _, p := range pods {
		index, ok := byAlias[hostnet.Alias(p.Key)]
		if !ok {
			index, ok = byName[hostnet.VethName(g.VethPrefix, p.Namespace, p.Name)]
		}
		if ok {
			all, ofPod[index] = append(all, attachmentOf(p, index)), true
		}
	}
	addrs, err := g.Addrs()
	if err != nil { // those that were known stay
		g.log.Error("list the node's addresses", run.KeyErr, err)
		addrs = g.addrs
	}
	g.addrs = addrs
	g.Enforcer.Sync(all, Host{Exits: exitsOf(links, ofPod), Addrs: addrs})
}

// loopback is the index of every namespace's own link.
const loopback = 1

// exitsOf are all links but the loopback and those of pods. A pod's that is not known is labelled: it has no exit, nor programs that
// would leave anything to one.
func exitsOf(links []hostnet.Link, ofPod map[int]bool) (exits []int) {
	for _, l := range links {
		if l.Index != loopback && l.Alias == "" && !ofPod[l.Index] {
			exits = append(exits, l.Index)
		}
	}
	return exits
}

func attachmentOf(p hostnet.Pod, ifindex int) Attachment {
	return Attachment{ID: hostnet.Alias(p.Key), Namespace: p.Namespace, Name: p.Name, UID: p.UID, Addrs: p.Addrs, Ifindex: ifindex}
}
