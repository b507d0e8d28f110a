package node_test

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit/simcloud"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

var (
	simSeeds  = flag.Int("sim.seeds", 1000, "number of seeds of the simulation")
	simFirst  = flag.Uint64("sim.first", 1, "the first of them")
	simEvents = flag.Int("sim.events", 2000, "events per seed")
	simSeed   = flag.Uint64("sim.seed", 0, "run this one seed and print its trace")
)

// TestSimulation drives the planner against the simulated VPC under virtual time: pods come and go, calls are slow, fail
// with and without effect, land late, reads are stale, the agent crashes at any moment and now and then loses its
// journal. At every event no address may be on two pods and every pod's address must be its interface's in EC2; when all
// is quiet, nothing may be leaked and the pool must be what the targets ask for.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if err := newSimulation(*simSeed, true).run(*simEvents); err != nil {
			t.Fatalf("seed %d: %v", *simSeed, err)
		}
		return
	}
	// Worlds are small and short-lived: with the default the collector runs all the time and takes half of it.
	defer debug.SetGCPercent(debug.SetGCPercent(1600))
	seeds := make(chan uint64)
	var done, failed atomic.Int64
	defer progress(t, &done, &failed)()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				err := newSimulation(seed, false).run(*simEvents)
				done.Add(1)
				if err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v\nrun again with: go test ./internal/node -run TestSimulation -sim.seed %d -v", seed, err, seed)
				}
			}
		})
	}
	for i := range *simSeeds {
		if t.Failed() {
			break
		}
		seeds <- *simFirst + uint64(i)
	}
	close(seeds)
	wg.Wait()
}

// progress says once a minute how far a long run is, until it is stopped.
func progress(t *testing.T, done, failed *atomic.Int64) (stop func()) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		minute := time.NewTicker(time.Minute)
		defer minute.Stop()
		for {
			select {
			case <-ended:
				return
			case <-minute.C:
				t.Logf("%d of %d seeds done, %d failed", done.Load(), *simSeeds, failed.Load())
			}
		}
	})
	return func() { close(ended); wg.Wait() }
}

// simulation is one seed's world. It implements vpcsim.Clock.
type simulation struct {
	seed   uint64
	rng    *rand.Rand
	now    time.Time
	sim    *vpcsim.Sim
	cloud  simcloud.Cloud
	meta   simcloud.Metadata
	caller vpcsim.Caller
	vpcID  string
	podNet vpc.SubnetID // the subnet of ENIConfigs
	cfg    pool.Config
	custom pool.Custom // the node's ENIConfig
	inst   vpc.Instance
	state  *pool.State
	life   int // which run of the agent this is; answers of an earlier one are lost

	durable, volatile []pool.Record
	kernel            map[netip.Addr]pool.Key // truth: who is wired where
	wired             map[pool.Key]netip.Addr
	asked             map[pool.Key]bool        // ADDs without an answer
	deleting          map[pool.Key]bool        // DELs without an answer
	foreign           map[vpc.ENIID]bool       // interfaces of others
	knew              map[vpc.ENIID]bool       // interfaces that this life of the agent has had attached
	forgot            map[vpc.ENIID]bool       // unattached when the journal was lost
	freed             map[netip.Addr]time.Time // by a release that is durable; what cools is given to nobody
	queue             events
	order, pods       int
	wake              time.Time // of the last plan
	// point is called at every moment at which the agent may die: before and after each record, effect and answer. When
	// it tells so, the agent dies there.
	point func(name string) (die bool)
	dead  bool
	// fate decides what becomes of a call; nil rolls dice.
	fate   func(a pool.Action) fate
	faulty bool
	loud   bool
	err    error
}

// Now implements vpcsim.Clock.
func (s *simulation) Now() time.Time { return s.now }

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || (e[i].at.Equal(e[j].at) && e[i].order < e[j].order)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// newSimulation makes a world whose every detail comes from the seed.
func newSimulation(seed uint64, loud bool) *simulation {
	s := emptySimulation(seed, loud)
	s.build([]string{"t3.medium", "m5.large", "m5.large", "c5.4xlarge"}[s.rng.IntN(4)], []int{26, 27, 24, 22}[s.rng.IntN(4)])
	s.cfg = s.randomConfig()
	s.randomMode()
	s.boot(true)
	return s
}

func emptySimulation(seed uint64, loud bool) *simulation {
	s := &simulation{
		seed: seed, rng: rand.New(rand.NewPCG(seed, seed)), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), loud: loud,
		kernel: map[netip.Addr]pool.Key{}, wired: map[pool.Key]netip.Addr{}, asked: map[pool.Key]bool{}, deleting: map[pool.Key]bool{}, foreign: map[vpc.ENIID]bool{}, freed: map[netip.Addr]time.Time{},
	}
	s.sim = vpcsim.New(vpcsim.Options{Seed: seed, Clock: s, Settings: vpcsim.Settings{
		Attach: pacing.Distribution{P50: 2 * time.Second, P99: 20 * time.Second}, Detach: pacing.Distribution{P50: 3 * time.Second, P99: 10 * time.Second},
		DescribeLag: s.lag(), FreeCountLag: s.lag(), MetadataAdd: s.lag(), MetadataRemove: s.lag(),
	}})
	return s
}

// lag is a propagation delay: none for a third of the seeds.
func (s *simulation) lag() pacing.Distribution {
	switch s.rng.IntN(3) {
	case 0:
		return pacing.Distribution{}
	case 1:
		return pacing.Distribution{P50: 500 * time.Millisecond, P99: 5 * time.Second}
	}
	return pacing.Distribution{P50: 2 * time.Second, P99: 40 * time.Second, Max: 60 * time.Second}
}

func (s *simulation) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("seed %d: %v", s.seed, err))
	}
}

func (s *simulation) build(kind string, size int) {
	v, err := s.sim.CreateVpc(s.caller, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	s.must(err)
	s.vpcID = v.Vpc.VpcId
	sn, err := s.sim.CreateSubnet(s.caller, ec2.CreateSubnetInput{VpcId: s.vpcID, CidrBlock: fmt.Sprintf("10.0.0.0/%d", size), AvailabilityZone: "us-west-2a"})
	s.must(err)
	_, err = s.sim.AssociateVpcCidrBlock(s.caller, ec2.AssociateVpcCidrBlockInput{VpcId: s.vpcID, CidrBlock: "100.64.0.0/16"})
	s.must(err)
	pods, err := s.sim.CreateSubnet(s.caller, ec2.CreateSubnetInput{VpcId: s.vpcID, CidrBlock: fmt.Sprintf("100.64.0.0/%d", 20+s.rng.IntN(8)), AvailabilityZone: "us-west-2a"})
	s.must(err)
	s.podNet = vpc.SubnetID(pods.Subnet.SubnetId)
	one := 1
	run, err := s.sim.RunInstances(s.caller, ec2.RunInstancesInput{ImageId: "ami-0123456789abcdef0", InstanceType: kind, SubnetId: sn.Subnet.SubnetId, MinCount: &one, MaxCount: &one})
	s.must(err)
	id := vpc.InstanceID(run.Instances[0].InstanceId)
	s.caller = vpcsim.Caller{Source: "node:" + string(id)}
	s.cloud = simcloud.Cloud{Sim: s.sim, Caller: s.caller}
	s.meta = simcloud.Metadata{Sim: s.sim, ID: id}
	s.now = s.now.Add(2 * time.Minute) // metadata has caught up
	s.inst, err = s.meta.Instance(context.Background())
	s.must(err)
}

func (s *simulation) randomConfig() pool.Config {
	c := pool.Defaults()
	c.Cluster = "demo"
	c.Cooldown = []time.Duration{0, 5 * time.Second, 30 * time.Second}[s.rng.IntN(3)]
	switch s.rng.IntN(4) {
	case 0:
		c.WarmENI = s.rng.IntN(3)
	case 1:
		c.WarmIP = 1 + s.rng.IntN(5)
	case 2:
		c.MinimumIP = 1 + s.rng.IntN(12)
	case 3:
		c.WarmIP, c.MinimumIP = 1+s.rng.IntN(3), 1+s.rng.IntN(20)
	}
	if s.rng.IntN(4) == 0 {
		c.MaxENI = 1 + s.rng.IntN(3)
	}
	if s.rng.IntN(3) == 0 {
		c.WarmENI, c.WarmPrefix = target.NotSet, target.NotSet
	}
	return c
}

// randomMode chooses how addresses are asked for: singly or in prefixes, from the subnets that discovery finds or from that
// of an ENIConfig.
func (s *simulation) randomMode() {
	s.cfg.Prefixes = s.rng.IntN(2) == 0
	s.cfg.WarmPrefix = s.rng.IntN(3) - 1
	s.cfg.ReservePrefixes = s.rng.IntN(6) == 0
	s.cfg.CustomNetworking = s.rng.IntN(5) == 0
	s.custom = pool.Custom{Name: "default", Found: true, Subnet: s.podNet}
	if s.rng.IntN(8) == 0 {
		s.custom = pool.Custom{Name: "default"}
	}
	s.say("prefixes %t, custom networking %t in %q", s.cfg.Prefixes, s.cfg.CustomNetworking, s.custom.Subnet)
	if s.state != nil {
		s.state.SetConfig(s.cfg)
		s.state.SetCustom(s.custom)
	}
}

func (s *simulation) say(format string, args ...any) {
	if s.loud {
		fmt.Printf("%s "+format+"\n", append([]any{s.now.Format("15:04:05.000")}, args...)...)
	}
}

func (s *simulation) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%s "+format, append([]any{s.now.Format("15:04:05.000")}, args...)...)
		s.say("FAIL %v", s.err)
	}
}

func (s *simulation) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, event{at: s.now.Add(d), order: s.order, do: do})
}

func (s *simulation) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.rng.Int64N(int64(high-low)+1))
}

func (s *simulation) run(n int) error {
	s.faulty = true
	for range n {
		if s.err != nil {
			return s.err
		}
		s.event()
		s.pump()
		s.check()
	}
	s.quiet()
	return s.err
}

// event is one thing that happens.
func (s *simulation) event() {
	switch p := s.rng.IntN(100); {
	case p < 30:
		s.addPod()
	case p < 52:
		s.delPod()
	case p < 92:
		s.advance(s.between(time.Millisecond, 3*time.Second))
	case p < 95:
		s.advance(s.between(10*time.Second, 3*time.Minute))
	case p < 96:
		s.crash()
	case p < 97 && s.rng.IntN(3) == 0:
		s.intrude()
	case p < 97:
		if s.rng.IntN(4) == 0 {
			s.randomMode()
		} else {
			s.changeSubnets()
		}
	default:
		s.advance(s.between(0, 50*time.Millisecond))
	}
}

// advance lets time pass; what is due happens on the way, and the planner is woken as the loop would be.
func (s *simulation) advance(d time.Duration) {
	end := s.now.Add(d)
	for s.err == nil {
		next, wake := end, s.wake
		if len(s.queue) > 0 && s.queue[0].at.Before(next) {
			next = s.queue[0].at
		}
		if wake.Before(next) {
			next = wake
		}
		if next.After(s.now) {
			s.now = next
		}
		if len(s.queue) > 0 && !s.queue[0].at.After(s.now) {
			heap.Pop(&s.queue).(event).do() //nolint:forcetypeassert // the heap holds nothing else
		}
		s.pump()
		if !s.now.Before(end) && (len(s.queue) == 0 || s.queue[0].at.After(s.now)) {
			return
		}
	}
}

func (s *simulation) addPod() {
	s.pods++
	k := pool.Key{ContainerID: fmt.Sprintf("c%d", s.pods), IfName: "eth0"}
	if len(s.asked)+len(s.wired) >= s.state.Limits.MaxPods()-2 {
		return
	}
	s.say("add %s", k.ContainerID)
	s.asked[k] = true
	if g, ok := s.state.Add(pool.Pod{Key: k, Name: k.ContainerID}, s.now); ok {
		s.wire(g)
	}
}

func (s *simulation) wire(g pool.Granted) {
	k, life := g.Allocation.Pod.Key, s.life
	s.volatile = append(s.volatile, g.Record)
	s.say("grant %s to %s", g.Allocation.Addr, k.ContainerID)
	if s.dies("granted") {
		return
	}
	s.after(s.between(time.Millisecond, 20*time.Millisecond), func() {
		if life != s.life {
			return
		}
		s.flush()
		if !s.asked[k] { // deleted meanwhile
			return
		}
		if at, cools := s.freed[g.Allocation.Addr]; cools && g.Allocation.At.Sub(at) < s.cfg.Cooldown {
			s.fail("%s given to %s %s after another pod gave it back", g.Allocation.Addr, k.ContainerID, g.Allocation.At.Sub(at))
		}
		if other, taken := s.kernel[g.Allocation.Addr]; taken && other != k {
			s.fail("%s given to %s while %s lives on it", g.Allocation.Addr, k.ContainerID, other.ContainerID)
		}
		delete(s.asked, k)
		s.kernel[g.Allocation.Addr], s.wired[k] = k, g.Allocation.Addr
		s.dies("wired")
	})
}

func (s *simulation) delPod() {
	keys := slices.SortedFunc(maps.Keys(s.wired), func(a, b pool.Key) int { return strings.Compare(a.ContainerID, b.ContainerID) })
	keys = slices.DeleteFunc(keys, func(k pool.Key) bool { return s.deleting[k] }) // the loop serves one call per pod at a time
	if len(keys) == 0 || s.rng.IntN(8) == 0 {
		keys = slices.SortedFunc(maps.Keys(s.asked), func(a, b pool.Key) int { return strings.Compare(a.ContainerID, b.ContainerID) })
	}
	if len(keys) == 0 {
		return
	}
	s.del(keys[s.rng.IntN(len(keys))])
}

func (s *simulation) del(k pool.Key) {
	s.say("del %s", k.ContainerID)
	delete(s.asked, k)
	addr, wired := s.wired[k]
	if _, ok := s.state.BeginRelease(k); !ok && !wired {
		return
	}
	s.deleting[k] = true
	life := s.life
	s.after(s.between(time.Millisecond, 20*time.Millisecond), func() {
		if life != s.life {
			return
		}
		if wired && s.kernel[addr] == k {
			delete(s.kernel, addr)
			delete(s.wired, k)
		}
		if s.dies("unwired") {
			return
		}
		delete(s.deleting, k)
		if r, ok := s.state.Release(k, s.now); ok {
			s.volatile = append(s.volatile, r)
		} else if r, ok := s.state.ReleaseHeld(addr, s.now); ok && wired {
			s.volatile = append(s.volatile, r)
		}
	})
}

func (s *simulation) flush() {
	for _, r := range s.volatile {
		if r.Freed != nil {
			s.freed[r.Freed.Addr] = r.Freed.At
		}
		if r.Unassign != nil { // it is EC2's, and may come back as somebody else's
			for _, b := range r.Unassign.Blocks {
				for _, a := range b.Addrs() {
					delete(s.freed, a)
				}
			}
		}
	}
	s.durable = append(s.durable, s.volatile...)
	s.volatile = nil
	if len(s.durable) > 300 { // compaction: the present state in place of its history
		s.durable = s.state.Snapshot(s.now)
	}
}

// crash ends the agent. What was not durable survives as a prefix, calls on their way may still land.
func (s *simulation) crash() {
	lost := s.rng.IntN(10) == 0
	s.say("crash, journal lost: %t", lost)
	n := 0
	if len(s.volatile) > 0 {
		n = s.rng.IntN(len(s.volatile) + 1)
	}
	s.restart(n, lost, s.between(0, time.Minute))
}

// restart starts the agent again after a while, with so many of the records that were not durable.
func (s *simulation) restart(kept int, lost bool, after time.Duration) {
	s.durable, s.volatile = append(s.durable, s.volatile[:kept]...), nil
	if lost {
		s.durable = nil
		clear(s.freed)
	}
	s.dead = false
	s.advanceDead(after)
	s.boot(false)
	s.checkCreations(lost)
	if lost {
		s.durable = append(s.durable, s.state.Doubt(s.now))
	}
}

// advanceDead lets time pass without an agent.
func (s *simulation) advanceDead(d time.Duration) {
	s.life++
	end := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(end) {
		e := heap.Pop(&s.queue).(event) //nolint:forcetypeassert // the heap holds nothing else
		if e.at.After(s.now) {
			s.now = e.at
		}
		e.do()
	}
	s.now = end
}

// boot starts the agent as the loop does: journal, kernel, stale attachments; then the runtime repeats its DELs and gives
// the pods that wait new sandboxes.
func (s *simulation) boot(fresh bool) {
	limits, _ := vpc.Limits(s.inst.Type)
	s.knew = map[vpc.ENIID]bool{}
	s.state = pool.New(s.cfg, s.inst, limits, fmt.Sprint(s.life), s.now)
	s.state.SetCustom(s.custom)
	s.state.Restore(s.durable)
	s.state.SetLive(slices.Collect(maps.Keys(s.kernel)), s.now)
	for _, a := range s.state.Stale() {
		if r, ok := s.state.Release(a.Pod.Key, s.now); ok {
			s.durable = append(s.durable, r)
		}
	}
	if fresh {
		return
	}
	again := len(s.asked)
	clear(s.asked)
	for _, k := range slices.SortedFunc(maps.Keys(s.deleting), func(a, b pool.Key) int { return strings.Compare(a.ContainerID, b.ContainerID) }) {
		s.del(k)
	}
	for range again {
		s.addPod()
	}
}

// intrude makes another one's interface in a subnet that the node uses: what it takes breaks blocks, and is gone from maps
// that the node has.
func (s *simulation) intrude() {
	subnets := s.state.Zone().Subnets()
	if len(subnets) == 0 {
		return
	}
	id, n := subnets[s.rng.IntN(len(subnets))].ID, s.rng.IntN(6)
	s.say("somebody takes %d addresses of %s", n+1, id)
	in := ec2.CreateNetworkInterfaceInput{SubnetId: string(id)}
	if n > 0 {
		in.SecondaryPrivateIpAddressCount = &n
	}
	if e, err := s.sim.CreateNetworkInterface(vpcsim.Caller{}, in); err == nil {
		s.foreign[vpc.ENIID(e.NetworkInterface.NetworkInterfaceId)] = true
	}
}

func (s *simulation) changeSubnets() {
	n := s.rng.IntN(200) + 1
	s.say("subnet 10.0.%d.0/24", n)
	sn, err := s.sim.CreateSubnet(vpcsim.Caller{}, ec2.CreateSubnetInput{VpcId: s.vpcID, CidrBlock: fmt.Sprintf("10.0.%d.0/%d", n, 24+s.rng.IntN(5)), AvailabilityZone: "us-west-2a"})
	if err != nil {
		return // taken
	}
	role := []string{"1", "0", "1"}[s.rng.IntN(3)]
	_, err = s.sim.CreateTags(vpcsim.Caller{}, ec2.CreateTagsInput{Resources: []string{sn.Subnet.SubnetId}, Tags: []ec2.Tag{{Key: vpc.TagCNIRole, Value: role}}})
	s.must(err)
}
