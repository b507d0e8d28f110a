package enforcement

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// namesTimeout is how long a scrape waits for the names of policies.
const namesTimeout = time.Second

// series is what a counter is told for.
type series struct {
	tier      string
	policy    policy.Ref
	direction string
	allowed   bool
}

// collector tells of packets by policy. The kernel counts by interface, and forgets interfaces that are gone: sums are kept here.
type collector struct {
	of *Enforcement

	mu   sync.Mutex
	last map[bpf.CountKey]bpf.Count
	sums map[series]bpf.Count
}

// Collector tells of packets by policy and by what is remarkable about them. Of an Enforcement that is off it tells nothing.
func (e *Enforcement) Collector() prometheus.Collector {
	return &collector{of: e, last: map[bpf.CountKey]bpf.Count{}, sums: map[series]bpf.Count{}}
}

// Metrics of network policy: those of network_policy_ are the existing agent's.
var (
	byPolicy = []string{"tier", "kind", "namespace", "policy", "direction", "verdict"}

	policyPackets = prometheus.NewDesc("berth_policy_packets_total",
		"Packets that a policy denied, and first packets of flows that it allowed. Without a policy: its tier decided by default or isolation.", byPolicy, nil)
	policyBytes = prometheus.NewDesc("berth_policy_bytes_total", "Bytes of the same packets.", byPolicy, nil)
	reasonCount = prometheus.NewDesc("berth_policy_reason_packets_total", "Packets by what was remarkable about them.", []string{"reason"}, nil)
	dropPackets = prometheus.NewDesc("network_policy_drop_count_total", "Packets that network policy denied.", []string{"direction"}, nil)
	nameAddrs   = prometheus.NewDesc("berth_policy_domain_addresses", "Addresses that domainNames of policies stand for on this node; 10,000 at most.", nil, nil)
	nameEvicted = prometheus.NewDesc("berth_policy_domain_addresses_evicted_total", "Addresses of domainNames that made room for others before they expired.", nil, nil)
	dropBytes   = prometheus.NewDesc("network_policy_drop_bytes_total", "Bytes of packets that network policy denied.", []string{"direction"}, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{policyPackets, policyBytes, reasonCount, dropPackets, dropBytes, nameAddrs, nameEvicted} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	if c.of == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(); err != nil {
		out <- prometheus.NewInvalidMetric(policyPackets, err)
		return
	}
	drops := map[string]bpf.Count{"ingress": {}, "egress": {}}
	for s, n := range c.sums {
		verdict := "ACCEPT"
		if !s.allowed {
			verdict = "DENY"
			d := drops[s.direction]
			drops[s.direction] = bpf.Count{Packets: d.Packets + n.Packets, Bytes: d.Bytes + n.Bytes}
		}
		labels := []string{s.tier, s.policy.Kind, s.policy.Namespace, s.policy.Name, s.direction, verdict}
		out <- prometheus.MustNewConstMetric(policyPackets, prometheus.CounterValue, float64(n.Packets), labels...)
		out <- prometheus.MustNewConstMetric(policyBytes, prometheus.CounterValue, float64(n.Bytes), labels...)
	}
	for direction, n := range drops {
		out <- prometheus.MustNewConstMetric(dropPackets, prometheus.CounterValue, float64(n.Packets), direction)
		out <- prometheus.MustNewConstMetric(dropBytes, prometheus.CounterValue, float64(n.Bytes), direction)
	}
	c.collectNames(out)
	reasons, err := c.of.datapath.Reasons()
	if err != nil {
		out <- prometheus.NewInvalidMetric(reasonCount, err)
		return
	}
	for reason, n := range reasons {
		out <- prometheus.MustNewConstMetric(reasonCount, prometheus.CounterValue, float64(n), string(reason))
	}
}

func (c *collector) collectNames(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), namesTimeout)
	defer cancel()
	known, _, err := c.of.loop.Names(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(nameAddrs, err)
		return
	}
	out <- prometheus.MustNewConstMetric(nameAddrs, prometheus.GaugeValue, float64(len(known.Records)))
	out <- prometheus.MustNewConstMetric(nameEvicted, prometheus.CounterValue, float64(known.Evicted))
}

// read adds what the kernel has counted since the last time.
func (c *collector) read() error {
	counts, err := c.of.datapath.Counts()
	if err != nil {
		return err
	}
	ids := make([]uint32, 0, len(counts))
	for key := range counts {
		ids = append(ids, key.Rule)
	}
	ctx, cancel := context.WithTimeout(context.Background(), namesTimeout)
	defer cancel()
	rules, known, err := c.of.loop.Refs(ctx, ids)
	if err != nil {
		return err
	}
	for key, n := range counts {
		was := c.last[key]
		more := bpf.Count{Packets: n.Packets - was.Packets, Bytes: n.Bytes - was.Bytes}
		if n.Packets < was.Packets { // an interface of the same index came
			more = n
		}
		if more.Packets == 0 {
			continue
		}
		s := series{tierOf(key.By), rules[key.Rule], directions[key.Direction], key.Allowed}
		sum := c.sums[s]
		c.sums[s] = bpf.Count{Packets: sum.Packets + more.Packets, Bytes: sum.Bytes + more.Bytes}
	}
	c.last = maps.Clone(counts)
	maps.DeleteFunc(c.sums, func(s series, _ bpf.Count) bool { // a name that nobody has any more must not stay for ever
		return s.policy != policy.Ref{} && !known[s.policy]
	})
	return nil
}

var directions = map[bpf.Direction]string{bpf.Ingress: "ingress", bpf.Egress: "egress"}

// tierOf is the name of who decided, as the flow log has it.
func tierOf(by tables.By) string {
	switch by {
	case tables.ByAdmin:
		return "ADMIN"
	case tables.ByNetwork, tables.ByIsolation:
		return "NETWORK_POLICY"
	case tables.ByBaseline:
		return "BASELINE"
	case bpf.ByHost:
		return "HOST"
	case bpf.ByFault:
		return "ERROR"
	case tables.ByDefault:
	}
	return "DEFAULT"
}
