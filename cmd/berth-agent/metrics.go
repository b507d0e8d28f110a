package main

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-net/berth/internal/aws"
	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// metrics counts what happens. Names and labels of awscni_ are those of the existing CNI; ours are berth_. What can be
// read off the node's state is not kept here but computed when it is asked for: see gauges.
type metrics struct {
	adds, noAddress           prometheus.Counter
	dels                      *prometheus.CounterVec
	addSeconds                *prometheus.HistogramVec
	delSeconds                *prometheus.HistogramVec
	actions                   *prometheus.CounterVec
	ipamdErrors, reconciles   *prometheus.CounterVec
	apiLatency                *prometheus.SummaryVec
	apiErrors                 *prometheus.CounterVec
	ec2Requests, ec2Errors    *prometheus.CounterVec
	utilErrors, podENIErrors  *prometheus.CounterVec
	forcedENIs, forcedIPs     prometheus.Counter
	startup, initialize       *prometheus.HistogramVec
	connmark, build           *prometheus.GaugeVec
	connmarkReconciles        *prometheus.CounterVec
	metadataReads, queuedDels prometheus.Counter
}

// latencyBuckets resolve both a pod that gets a free address and one that waits for EC2, in seconds.
var latencyBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}

func newMetrics(version string, r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	m := &metrics{
		adds:               counter("awscni_add_ip_req_count", "ADD requests of the plugin."),
		dels:               counters("awscni_del_ip_req_count", "DEL requests of the plugin.", "reason"),
		noAddress:          counter("awscni_no_available_ip_addresses", "ADD requests that failed for lack of an address."),
		ipamdErrors:        counters("awscni_ipamd_error_count", "Failed steps of address management.", "fn"),
		reconciles:         counters("awscni_reconcile_count", "Reads of the interfaces that were folded into the state.", "fn"),
		podENIErrors:       counters("awscni_pod_eni_error_count", "Failures with interfaces of single pods.", "fn"),
		apiErrors:          counters("awscni_aws_api_error_count", "Failed attempts of AWS API calls by error code.", "api", "error"),
		utilErrors:         counters("awscni_aws_utils_error_count", "Failures of EC2 calls by step and error code.", "fn", "error"),
		ec2Requests:        counters("awscni_ec2api_req_count", "Attempts of EC2 API calls.", "fn"),
		ec2Errors:          counters("awscni_ec2api_error_count", "Failed attempts of EC2 API calls.", "fn"),
		forcedENIs:         counter("awscni_force_removed_enis", "Interfaces with pods that disappeared from the instance."),
		forcedIPs:          counter("awscni_force_removed_ips", "Addresses of pods that disappeared from an interface."),
		startup:            histograms("awscni_ipamd_startup_duration_seconds", "From the process's start until pods are served.", prometheus.DefBuckets, "success", "with_api_server", "failure_reason"),
		initialize:         histograms("awscni_ipamd_node_initialization_duration_seconds", "From the process's start until the node's state is known.", prometheus.DefBuckets, "success"),
		connmark:           gauges("awscni_connmark_backend", "1 for the packet filter that is used.", "backend"),
		connmarkReconciles: counters("awscni_connmark_reconcile_total", "Comparisons of the packet filter with what it should be.", "result"),
		build:              gauges("awscni_build_info", "1, with the version as a label.", "version", "goversion"),

		addSeconds:    histograms("berth_add_seconds", "ADD requests inside the agent, by outcome: ok or the reason of the failure.", latencyBuckets, "result"),
		delSeconds:    histograms("berth_del_seconds", "DEL requests inside the agent.", latencyBuckets, "result"),
		actions:       counters("berth_actions_total", "Finished actions of the planner, by kind, reason and outcome.", "action", "why", "result"),
		metadataReads: counter("berth_imds_reads_total", "Values asked of the instance metadata service."),
		queuedDels:    counter("berth_queued_deletes_applied_total", "Deletes that were left on disk while no agent answered, and applied."),
	}
	m.apiLatency = prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "awscni_aws_api_latency_ms", Help: "Attempts of AWS API calls, milliseconds."}, []string{"api", "error", "status"})
	r.MustRegister(m.apiLatency)
	m.build.WithLabelValues(version, runtime.Version()).Set(1)
	m.connmark.WithLabelValues("nftables").Set(1)
	return m
}

// Added implements node.Meter.
func (m *metrics) Added(elapsed time.Duration, why string) {
	m.adds.Inc()
	result := why
	switch pool.Why(why) {
	case "":
		result = "ok"
	case ipam.Coming, ipam.NodeFull, ipam.SubnetsFull, ipam.LastSlotKept, ipam.Unschedulable, ipam.ProvisioningOff, ipam.EC2Throttled, ipam.EC2Denied, ipam.EC2Failing, ipam.AddressesCooling, ipam.AddressesInDoubt:
		m.noAddress.Inc()
	default:
	}
	m.addSeconds.WithLabelValues(result).Observe(elapsed.Seconds())
}

// Deleted implements node.Meter.
func (m *metrics) Deleted(elapsed time.Duration, err error) {
	m.dels.WithLabelValues("PodDeleted").Inc()
	m.delSeconds.WithLabelValues(outcome(err)).Observe(elapsed.Seconds())
}

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// errorFn names the steps of the existing CNI that the failure of an action stands for.
var errorFn = map[pool.Kind]string{
	pool.ReadENIs: "reconcileFailedGetENIs", pool.ReadENI: "increaseIPPoolGetENIaddressesFailed", pool.ReadMetadata: "reconcileFailedGetENIs",
	pool.ReadSubnets: "increaseIPPoolAllocENI", pool.CreateENI: "increaseIPPoolAllocENI", pool.AttachENI: "increaseIPPoolAllocENI",
	pool.KeepENI: "increaseIPPoolsetupENIFailed", pool.TagENI: "increaseIPPoolsetupENIFailed", pool.SetGroups: "increaseIPPoolsetupENIFailed",
	pool.AssignAddresses: "increaseIPPoolAllocIPAddressesFailed", pool.UnassignAddresses: "decreaseIPPool",
	pool.DetachENI: "decreaseIPPoolFreeENIFailed", pool.DeleteENI: "decreaseIPPoolFreeENIFailed",
}

// Acted implements node.Meter.
func (m *metrics) Acted(kind pool.Kind, why pool.Why, _ time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = string(vpc.CodeOf(err))
		if fn := errorFn[kind]; fn != "" {
			m.ipamdErrors.WithLabelValues(fn).Inc()
			m.utilErrors.WithLabelValues(string(kind), result).Inc()
		}
	} else if kind == pool.ReadENIs || kind == pool.ReadMetadata {
		m.reconciles.WithLabelValues("eniDataStorePoolReconcileAdd").Inc()
	}
	m.actions.WithLabelValues(string(kind), string(why), result).Inc()
}

// Compared implements node.Meter.
func (m *metrics) Compared(err error) {
	m.connmarkReconciles.WithLabelValues(outcome(err)).Inc()
}

// Lost implements node.Meter.
func (m *metrics) Lost(enis, addrs int) {
	m.forcedENIs.Add(float64(enis))
	m.forcedIPs.Add(float64(addrs))
}

// called counts an attempt of an EC2 call.
func (m *metrics) called(c aws.Call) {
	failed := strconv.FormatBool(c.Err != nil)
	m.apiLatency.WithLabelValues(c.Action, failed, strconv.Itoa(c.Status)).Observe(float64(c.Elapsed) / float64(time.Millisecond))
	m.ec2Requests.WithLabelValues(c.Action).Inc()
	if c.Err == nil {
		return
	}
	code := c.Wire
	if code == "" {
		code = string(c.Err.Code)
	}
	m.ec2Errors.WithLabelValues(c.Action).Inc()
	m.apiErrors.WithLabelValues(c.Action, code).Inc()
}

// ready notes that pods are served.
func (m *metrics) ready(elapsed time.Duration, withAPIServer bool) {
	m.startup.WithLabelValues("true", strconv.FormatBool(withAPIServer), "").Observe(elapsed.Seconds())
	m.initialize.WithLabelValues("true").Observe(elapsed.Seconds())
}

// gauges computes what the node's state says at the moment it is asked for.
type gauges struct {
	report  func(context.Context) (agentReport, error)
	budgets func() []budget.Status
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descENIMax     = desc("awscni_eni_max", "Most interfaces that the node may have.")
	descIPMax      = desc("awscni_ip_max", "Most addresses that pods may have.")
	descENIs       = desc("awscni_eni_allocated", "Interfaces that the agent manages.")
	descTotal      = desc("awscni_total_ip_addresses", "Addresses that pods may have now.")
	descAssigned   = desc("awscni_assigned_ip_addresses", "Addresses of pods.")
	descPrefixes   = desc("awscni_total_ipv4_prefixes", "Prefixes of the interfaces.")
	descPerCIDR    = desc("awscni_assigned_ip_per_cidr", "Addresses of pods by block.", "cidr")
	descPerENI     = desc("awscni_assigned_ip_per_eni", "Addresses of pods by interface.", "eni")
	descInProgress = desc("awscni_ipamd_action_inprogress", "Steps of address management that are under way.", "fn")
	descAddresses  = desc("berth_addresses", "Addresses of managed interfaces by state.", "state")
	descWaiting    = desc("berth_pods_waiting", "Pods that wait for an address.")
	descBlocked    = desc("berth_blocked", "1 with the reason why pods wait for more than what is under way.", "why")
	descSubnetFree = desc("berth_subnet_free_addresses", "Free addresses of a subnet of the node's zone as EC2 said last.", "subnet", "cidr", "usable")
	descReady      = desc("berth_ready", "1 once pods are served.")
	descDegraded   = desc("berth_degraded", "Number of things that are not as they should be; introspection names them.")
	descShare      = desc("berth_ec2_share_seconds", "For how long the share that berth-controller hands out counts from now on; 0 when there is none.")
	descQueued     = desc("berth_queued_deletes", "Deletes on disk that were not applied yet.")

	descBudgetRate      = desc("berth_ec2_budget_rate", "Calls per second of an EC2 action that the node may make now.", "action")
	descBudgetThrottled = desc("berth_ec2_budget_throttled_seconds", "For how long EC2 has throttled an action on this node without a success; 0 when it does not.", "action")
	descBudgetWaiting   = desc("berth_ec2_budget_waiting", "Calls of an EC2 action that wait for their turn, by urgency.", "action", "lane")
)

// Describe implements prometheus.Collector.
func (gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descENIMax, descIPMax, descENIs, descTotal, descAssigned, descPrefixes, descPerCIDR, descPerENI, descInProgress, descAddresses,
		descWaiting, descBlocked, descSubnetFree, descReady, descDegraded, descShare, descQueued, descBudgetRate, descBudgetThrottled, descBudgetWaiting,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	collectBudgets(g.budgets(), out)
	r, err := g.report(context.Background())
	if err != nil {
		return // the loop is stopping
	}
	emit := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	n := r.Node
	t := n.Tally
	emit(descReady, number(n.Ready))
	emit(descDegraded, len(r.Degraded)+len(n.Degraded)+len(n.Lost))
	emit(descQueued, r.QueuedDeletes)
	emit(descShare, max(int(time.Until(r.ShareUntil).Seconds()), 0))
	emit(descWaiting, t.Waiting)
	if n.Blocked.Why != "" {
		emit(descBlocked, 1, string(n.Blocked.Why))
	}
	for state, v := range map[pool.Phase]int{pool.Free: t.Free, pool.InUse: t.InUse, pool.Cooling: t.Cooling, pool.Held: t.Held, pool.Leaving: t.Leaving, "coming": t.Coming} {
		emit(descAddresses, v, string(state))
	}
	emit(descTotal, t.Free+t.InUse+t.Cooling+t.Held)
	emit(descAssigned, t.InUse+t.Held)
	emit(descENIMax, n.MaxENIs)
	collectENIs(r, emit)
	for _, s := range n.Subnets {
		emit(descSubnetFree, s.Free, string(s.ID), s.CIDR.String(), strconv.FormatBool(s.Usable))
	}
	emit(descInProgress, number(!n.Ready), "nodeInit")
	collectActions(n.Acting, emit)
}

func collectBudgets(list []budget.Status, out chan<- prometheus.Metric) {
	emit := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range list {
		throttled := 0.0
		if !s.Since.IsZero() {
			throttled = time.Since(s.Since).Seconds()
		}
		emit(descBudgetRate, s.Rate, s.Action)
		emit(descBudgetThrottled, throttled, s.Action)
		for _, lane := range budget.Lanes() {
			emit(descBudgetWaiting, float64(s.Waiting[lane]), s.Action, lane.String())
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func collectENIs(r agentReport, emit func(*prometheus.Desc, int, ...string)) {
	managed, unmanaged := 0, 0
	for _, e := range r.Node.ENIs {
		if !e.Managed {
			unmanaged++
			continue
		}
		managed++
		used := 0
		for _, a := range e.Addresses {
			n := number(a.Phase == pool.InUse || a.Phase == pool.Held)
			used += n
			emit(descPerCIDR, n, a.IP.String()+"/"+strconv.Itoa(a.IP.BitLen()))
		}
		emit(descPerENI, used, string(e.ID))
	}
	emit(descENIs, managed)
	emit(descPrefixes, 0)
	emit(descIPMax, max(r.Node.MaxENIs-unmanaged, 0)*max(r.Node.Limits.IPv4PerENI-1, 0))
}

// inProgressFn names the steps of the existing CNI that an action under way stands for.
var inProgressFn = map[pool.Kind]string{
	pool.ReadENIs: "nodeIPPoolReconcile", pool.ReadENI: "nodeIPPoolReconcile", pool.ReadMetadata: "nodeIPPoolReconcile",
	pool.UnassignAddresses: "decreaseDatastorePool", pool.DetachENI: "decreaseDatastorePool", pool.DeleteENI: "decreaseDatastorePool",
	pool.CreateENI: "increaseDatastorePool", pool.AttachENI: "increaseDatastorePool", pool.AssignAddresses: "increaseDatastorePool",
}

func collectActions(acting []string, emit func(*prometheus.Desc, int, ...string)) {
	counts := map[string]int{"nodeIPPoolReconcile": 0, "decreaseDatastorePool": 0, "increaseDatastorePool": 0}
	for _, line := range acting {
		kind, _, _ := strings.Cut(line, " ")
		kind, _, _ = strings.Cut(kind, ":")
		if fn := inProgressFn[pool.Kind(kind)]; fn != "" {
			counts[fn]++
		}
	}
	for fn, n := range counts {
		emit(descInProgress, n, fn)
	}
}
