package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// world is a node whose EC2 answers what the test says. Time moves only by the test.
type world struct {
	t     *testing.T
	state *pool.State
	now   time.Time
	enis  []vpc.ENI
	subs  []vpc.Subnet
	// blocks are what metadata shows as the VPC's; none is no answer.
	blocks []netip.Prefix
	// leaked is what a search for unattached interfaces finds.
	leaked []vpc.ENI
	next   byte
	// prefixes is how many prefixes have been given out.
	prefixes byte
	// others are interfaces of other nodes; reserved are reservations, groups the tagged security groups.
	others   []vpc.ENI
	reserved []vpc.Reservation
	groups   []vpc.SecurityGroup
	// refusePrefixes, or in one subnet noPrefixIn: EC2 finds no prefix.
	refusePrefixes bool
	noPrefixIn     vpc.SubnetID
	// refuse gives an error for an action, by kind.
	refuse map[pool.Kind]vpc.Code
	// refuseIn gives an error for interfaces in a subnet.
	refuseIn map[vpc.SubnetID]vpc.Code
	// mostGroups is the quota of security groups for an interface; 0 is none.
	mostGroups int
	// until is when the node's budget lets a throttled action leave again.
	until time.Time
}

var instance = vpc.Instance{
	ID: "i-1", Type: "m5.large", Region: "us-west-2", Zone: "us-west-2a", VPC: "vpc-1", Subnet: "subnet-primary", PrimaryENI: "eni-primary",
	Groups: []vpc.SecurityGroupID{"sg-1"}, VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
}

func newWorld(t *testing.T, change func(*pool.Config)) *world {
	t.Helper()
	cfg := pool.Defaults()
	cfg.Cluster, cfg.WarmENI, cfg.WarmPrefix = "demo", 1, 1
	if change != nil {
		change(&cfg)
	}
	limits, _ := vpc.Limits("m5.large")
	w := &world{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), next: 10, blocks: slices.Clone(instance.VPCCIDRs), refuse: map[pool.Kind]vpc.Code{}}
	w.state = pool.New(cfg, instance, limits, "n", w.now)
	w.enis = []vpc.ENI{{
		ID: "eni-primary", Subnet: "subnet-primary", VPC: "vpc-1", MAC: "02:00:00:00:00:01", Type: "interface", Primary: netip.MustParseAddr("10.0.0.4"),
		Groups: instance.Groups, Attachment: &vpc.Attachment{ID: "attach-0", Instance: "i-1", State: vpc.Attached, DeleteOnTermination: true},
	}}
	w.subs = []vpc.Subnet{{ID: "subnet-primary", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 200, Available: true}}
	return w
}

// emptied leaves the node with three interfaces whose pods have ended two minutes ago.
func (w *world) emptied() {
	w.t.Helper()
	w.add(0, 15)
	w.settle()
	w.settle()
	w.del(0, 15)
	w.now = w.now.Add(2 * time.Minute)
}

// plan returns the plan as text.
func (w *world) plan() string { return ipam.Decide(w.state, w.now).String() }

// step plans once, performs all actions in order and returns the plan's text.
func (w *world) step() string {
	w.t.Helper()
	plan := ipam.Decide(w.state, w.now)
	if again := ipam.Decide(w.state, w.now); !reflect.DeepEqual(plan, again) {
		w.t.Errorf("deciding changed the state: asked again at once, it is\n%sinstead of\n%s", again, plan)
	}
	for _, a := range plan.Actions {
		w.state.Begin(a, w.now)
	}
	w.now = w.now.Add(time.Millisecond)
	for _, a := range plan.Actions {
		w.state.Finish(a, w.perform(a), w.now)
	}
	for _, e := range w.state.ENIs() {
		w.state.Configured(e.ID, e.Phase == pool.Attached)
	}
	w.state.Satisfy(w.now)
	w.now = w.now.Add(time.Millisecond)
	return plan.String()
}

// settle steps until nothing is planned and returns all the plans.
func (w *world) settle() string {
	w.t.Helper()
	var all strings.Builder
	for range 20 {
		text := w.step()
		if !strings.Contains(text, "-") || strings.HasPrefix(text, "blocked") {
			all.WriteString(text)
			return all.String()
		}
		all.WriteString(text)
	}
	w.t.Fatalf("does not settle:\n%s", all.String())
	return ""
}

func (w *world) settleFor(d time.Duration) { w.count("", d, 100*time.Millisecond) }

// count lets time pass in small steps and counts the actions of one kind that are begun.
func (w *world) count(kind pool.Kind, d, step time.Duration) int {
	w.t.Helper()
	n := 0
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(step) {
		for line := range strings.Lines(w.step()) {
			if strings.HasPrefix(line, string(kind)+" ") || strings.HasPrefix(line, string(kind)+":") {
				n++
			}
		}
	}
	return n
}

func (w *world) perform(a pool.Action) pool.Result {
	r := pool.Result{AskedAt: w.now}
	code, ok := w.refuse[a.Kind]
	if !ok && a.Create != nil {
		code, ok = w.refuseIn[a.Create.Subnet]
	}
	if groups := a.Groups; w.mostGroups > 0 && (len(groups) > w.mostGroups || a.Create != nil && len(a.Create.Groups) > w.mostGroups) {
		code, ok = vpc.TooManyGroups, true
	}
	if ok {
		r.Err = &vpc.Error{Code: code, Op: string(a.Kind), Err: errors.New("refused"), Until: w.until}
		return r
	}
	if w.taken(a) {
		r.Err = &vpc.Error{Code: vpc.AddressTaken, Op: string(a.Kind), Err: errors.New("in use")}
		return r
	}
	if w.fragmented(a) {
		r.Err = &vpc.Error{Code: vpc.PrefixFragmented, Op: string(a.Kind), Err: errors.New("fragmented")}
		return r
	}
	if !a.Kind.Mutates() {
		w.read(a, &r)
		return r
	}
	switch a.Kind {
	case pool.ReservePrefixes:
		w.reserved = append(w.reserved, vpc.Reservation{Subnet: a.Subnet, CIDR: a.CIDR, Type: vpc.ReservedForPrefixes, Tags: a.Tags})
	case pool.CreateENI:
		e := vpc.ENI{ID: vpc.ENIID(fmt.Sprintf("eni-%d", len(w.enis))), Subnet: a.Create.Subnet, MAC: fmt.Sprint(len(w.enis)), Type: "interface", Primary: a.Create.Primary, Groups: a.Create.Groups, Tags: a.Create.Tags}
		if !e.Primary.IsValid() {
			e.Primary = w.addr()
		}
		w.assign(&e, a.Create.Want)
		w.take(a.Create.Subnet, 1)
		w.enis = append(w.enis, e)
		r.ENI = e
	case pool.AttachENI:
		r.Attachment = vpc.AttachmentID("attach-" + string(a.ENI))
		w.eni(a.ENI).Attachment = &vpc.Attachment{ID: r.Attachment, Instance: "i-1", DeviceIndex: a.Device, State: vpc.Attached}
	case pool.AssignAddresses:
		r.Assigned = w.assign(w.eni(a.ENI), a.Want)
	case pool.SetGroups:
		w.eni(a.ENI).Groups = a.Groups
	case pool.TagENI:
		w.eni(a.ENI).Tags = a.Tags
	case pool.KeepENI:
		w.eni(a.ENI).Attachment.DeleteOnTermination = true
	default:
		w.remove(a)
	}
	return r
}

// read answers a question.
func (w *world) read(a pool.Action, r *pool.Result) {
	switch a.Kind {
	case pool.ReadENIs:
		r.ENIs = w.attached()
	case pool.ReadENI:
		for _, e := range w.enis {
			if e.ID == a.ENI {
				r.ENIs = []vpc.ENI{e}
			}
		}
	case pool.ReadSpace:
		for _, e := range append(slices.Clone(w.enis), w.others...) {
			if e.Subnet == a.Subnet {
				r.ENIs = append(r.ENIs, e)
			}
		}
		r.Reserved = w.reserved
	case pool.ReadGroups:
		r.Tagged = w.groups
	case pool.ReadLeaked:
		r.ENIs, w.leaked = w.leaked, nil
	case pool.ReadSubnets:
		r.Subnets = append([]vpc.Subnet{}, w.subs...)
	case pool.ReadVPC:
		r.CIDRs = w.blocks
	case pool.ReadMetadata:
		for _, e := range w.attached() {
			r.Metadata = append(r.Metadata, vpc.MetadataENI{ID: e.ID, MAC: e.MAC, DeviceIndex: e.Attachment.DeviceIndex, Subnet: e.Subnet, Addresses: append([]netip.Addr{e.Primary}, e.Secondary...), Prefixes: e.Prefixes})
		}
	default:
		w.t.Fatalf("unknown question %s", a)
	}
}

// taken tells whether somebody else has what an action names.
func (w *world) taken(a pool.Action) bool {
	want, primary := a.Want, netip.Addr{}
	if a.Create != nil {
		want, primary = a.Create.Want, a.Create.Primary
	}
	for _, b := range append(vpc.Blocks(want.Addrs, want.Prefixes), vpc.Single(primary)) {
		for _, e := range append(slices.Clone(w.enis), w.others...) {
			for _, c := range append(e.Assigned(), vpc.Single(e.Primary)) {
				if b.CIDR().IsValid() && b.CIDR().Overlaps(c.CIDR()) {
					return true
				}
			}
		}
	}
	return false
}

// fragmented tells whether EC2 refuses an action for lack of prefixes.
func (w *world) fragmented(a pool.Action) bool {
	switch a.Kind {
	case pool.CreateENI:
		return a.Create.Want.InPrefixes() && (w.refusePrefixes || a.Create.Subnet == w.noPrefixIn)
	case pool.AssignAddresses:
		return a.Want.InPrefixes() && (w.refusePrefixes || w.eni(a.ENI).Subnet == w.noPrefixIn)
	default:
		return false
	}
}

func (w *world) remove(a pool.Action) {
	switch a.Kind {
	case pool.UnassignAddresses:
		e := w.eni(a.ENI)
		e.Secondary, e.Prefixes = vpc.Split(slices.DeleteFunc(e.Assigned(), func(b vpc.Block) bool { return slices.Contains(a.Blocks, b) }))
	case pool.DetachENI:
		w.eni(a.ENI).Attachment = nil
	default:
	}
}

// metadata tells the state what the metadata service shows, whatever EC2 has.
func (w *world) metadata(list ...vpc.MetadataENI) {
	read := pool.Action{Kind: pool.ReadMetadata, Key: "read-metadata"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, pool.Result{Metadata: list, AskedAt: w.now}, w.now)
}

// restart replaces the state by one that knows the journal and the kernel.
func (w *world) restart() {
	records := w.state.Snapshot(w.now)
	var live []netip.Addr
	for _, a := range w.state.Allocations() {
		live = append(live, a.Addr)
	}
	w.begin(records...)
	w.state.SetLive(live, w.now)
}

// begin replaces the state by one that knows these records of a journal and nothing else.
func (w *world) begin(records ...pool.Record) {
	limits, _ := vpc.Limits("m5.large")
	w.state = pool.New(w.state.Config, instance, limits, fmt.Sprint("n", w.now.Unix()), w.now)
	w.state.Restore(records)
}

func contains(list []netip.Addr, ip netip.Addr) bool {
	return slices.Contains(list, ip)
}

func (w *world) attached() []vpc.ENI {
	var list []vpc.ENI
	for _, e := range w.enis {
		if e.Attachment != nil {
			list = append(list, e)
		}
	}
	return list
}

func (w *world) eni(id vpc.ENIID) *vpc.ENI {
	for i := range w.enis {
		if w.enis[i].ID == id {
			return &w.enis[i]
		}
	}
	w.t.Fatalf("no interface %s", id)
	return nil
}

func (w *world) take(id vpc.SubnetID, n int) {
	for i := range w.subs {
		if w.subs[i].ID == id {
			w.subs[i].Free -= n
		}
	}
}

// assign gives an interface what was asked for.
func (w *world) assign(e *vpc.ENI, want vpc.Want) []vpc.Block {
	addrs, prefixes := want.Addrs, want.Prefixes
	for range want.Count {
		addrs = append(addrs, w.addr())
	}
	for range want.PrefixCount {
		w.prefixes++
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1 + w.prefixes/16, w.prefixes % 16 * 16}), vpc.PrefixBits))
	}
	e.Secondary, e.Prefixes = append(e.Secondary, addrs...), append(e.Prefixes, prefixes...)
	w.take(e.Subnet, want.Size())
	return vpc.Blocks(addrs, prefixes)
}

func (w *world) addr() netip.Addr {
	w.next++
	return netip.AddrFrom4([4]byte{10, 0, 0, w.next})
}

func key(i int) pool.Key { return pool.Key{ContainerID: fmt.Sprint("c", i), IfName: "eth0"} }

func (w *world) add(from, to int) (granted int) {
	for i := from; i < to; i++ {
		if _, ok := w.state.Add(pool.Pod{Key: key(i), Name: fmt.Sprint("p", i)}, w.now); ok {
			granted++
		}
	}
	return granted
}

func (w *world) del(from, to int) {
	for i := from; i < to; i++ {
		w.state.BeginRelease(key(i))
		w.state.Release(key(i), w.now)
	}
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
