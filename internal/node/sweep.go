package node

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// goneFor is how long the kernel must show nothing of a pod before its record ends without a DEL.
const goneFor = time.Minute

// sweep ends the records of pods whose DEL never came: their link, which goes with the pod's namespace, is not there in all
// comparisons of the host's network during goneFor. It looks at what the comparison has read; none was under way beside
// wiring, so a pod that is neither being wired nor unwired now was wired before the look.
func (n *Node) sweep(seen []hostnet.Seen, now time.Time) {
	live := make(map[netip.Addr]bool, len(seen))
	for _, a := range liveAddrs(seen) {
		live[a] = true
	}
	gone := make(map[pool.Key]time.Time)
	for _, a := range n.state.Allocations() {
		key := a.Pod.Key
		_, busy := n.busy[key]
		if live[a.Addr] || busy || a.Releasing {
			continue
		}
		since, known := n.gone[key]
		if !known {
			since = now
		}
		gone[key] = since
		if now.Sub(since) < goneFor {
			continue
		}
		delete(gone, key)
		n.log.Warn("pod is gone without a DEL; its address cools down", run.KeyPod, a.Pod.Name, run.KeyNamespace, a.Pod.Namespace, run.KeyIP, a.Addr, run.KeyENI, a.ENI,
			run.KeyWhy, "the kernel shows nothing of it", "since", since)
		if r, ok := n.state.Release(key, now); ok {
			n.ports.Journal.Append([]pool.Record{r})
		}
	}
	n.gone = gone
}
