package ipam

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Reasons why a pod waits.
const (
	Coming           pool.Why = "addresses-coming"           // EC2 is adding them
	NodeFull         pool.Why = "node-full"                  // the instance type takes no more
	SubnetsFull      pool.Why = "subnets-full"               // no usable subnet has room
	LastSlotKept     pool.Why = "last-slot-kept"             // no usable subnet can fill the node's last interface
	Unschedulable    pool.Why = "node-unschedulable"         // and AWS_MANAGE_ENIS_NON_SCHEDULABLE is false
	ProvisioningOff  pool.Why = "provisioning-disabled"      // DISABLE_NETWORK_RESOURCE_PROVISIONING
	InterfacesStuck  pool.Why = "interfaces-in-full-subnets" // the node takes no more interfaces, and those that it has cannot grow
	NoENIConfig      pool.Why = "no-eniconfig"               // custom networking is on, and the node's ENIConfig does not exist or names no subnet
	ENIConfigSubnet  pool.Why = "eniconfig-subnet"           // it names a subnet that interfaces of this node cannot lie in
	EC2Throttled     pool.Why = "ec2-throttled"
	EC2Denied        pool.Why = "ec2-not-authorized"
	EC2Failing       pool.Why = "ec2-failing"
	AddressesCooling pool.Why = "addresses-cooling"
	AddressesInDoubt pool.Why = "addresses-in-doubt" // the journal was lost; held until a read can tell
)

// Blocked says why pods wait, what was found, and what to do.
type Blocked struct {
	Why    pool.Why
	Detail string
	Hint   string
}

// String is one sentence or two.
func (b Blocked) String() string {
	s := string(b.Why)
	if b.Detail != "" {
		s += ": " + b.Detail
	}
	if b.Hint != "" {
		s += "; " + b.Hint
	}
	return s
}

// blocked finds why pods wait, empty when none does. Promised addresses are those about to be added.
func (p *planner) blocked(promised int) pool.Why {
	var why pool.Why
	switch {
	case p.tally.Waiting == 0:
		return ""
	case !p.Ready():
		why = pool.Starting
	case !p.Config.Provision || !p.Config.ReadEC2:
		return ProvisioningOff
	case p.holdsGrowth():
		return Unschedulable
	case p.Config.CustomNetworking && p.Custom().Subnet == "":
		return NoENIConfig
	case p.tally.Coming+promised >= p.tally.Waiting:
		why = Coming
	default:
		why = p.noRoom()
	}
	key, err := p.LastFailure()
	if _, flying := p.Flying(key); !p.tries.Failed(key) || p.tries.May(key, p.now) && !flying {
		return why // what failed has worked since, or nobody needs it any more: else it would wait, or be tried
	}
	if why == Coming && pool.Grows(key) {
		return why // from elsewhere
	}
	switch vpc.CodeOf(err) {
	case vpc.Throttled:
		return EC2Throttled
	case vpc.NotAuthorized:
		return EC2Denied
	case vpc.NotFound, vpc.TooManyGroups: // that an interface is gone is no news; that a group or subnet is not there is
		if pool.Grows(key) && why != TooManyGroups {
			return EC2Failing
		}
	case vpc.Internal, vpc.Inconsistent, vpc.Invalid, vpc.LimitReached:
		// A refused creation or attachment hides behind the subnets, which have room.
		if why == Coming || why == pool.Starting || pool.Grows(key) || strings.HasPrefix(key, "attach/") {
			return EC2Failing
		}
	default:
	}
	return why
}

// noRoom finds what limits a node whose pods wait for more than what is coming.
func (p *planner) noRoom() pool.Why {
	slots := p.FreeSlots()
	switch {
	case p.doubtful() > 0 && p.doubtful() >= p.tally.Waiting: // the wait ends by itself, whatever the subnets are like
		return AddressesInDoubt
	case slots <= 0 && p.addressSlots() == 0 && p.tally.Cooling > 0:
		return AddressesCooling
	case slots <= 0 && p.addressSlots() == 0 && p.doubtful() > 0:
		return AddressesInDoubt
	case slots <= 0 && p.addressSlots() == 0:
		return NodeFull
	case !p.zone.Told():
		return pool.Starting
	case slots <= 0:
		return InterfacesStuck
	case p.Config.CustomNetworking && !p.customUsable():
		return ENIConfigSubnet
	case p.tooManyGroups() != nil:
		return TooManyGroups
	case p.rereading || p.wantGroups: // what growth needs to know first is being read
		return Coming
	case slots == 1 && p.zone.Best() > 1:
		return LastSlotKept
	}
	return SubnetsFull
}

// customUsable tells whether the subnet that custom networking names is one that interfaces of this node can lie in.
func (v view) customUsable() bool {
	sn, ok := v.zone.Find(v.Custom().Subnet)
	usable, _ := subnet.Judge(v.zone.Rules(), sn)
	return ok && usable
}

// doubtful is how many addresses are held because the journal was lost.
func (v view) doubtful() (n int) {
	for _, e := range v.ENIs() {
		if e.Managed {
			n += e.Doubted(ledger.MaybeGone)
		}
	}
	return n
}

// Explain puts a plan's reason into words that name the figures and the next step.
func Explain(s *pool.State, p Plan) Blocked {
	v := viewOf(s)
	b := Blocked{Why: p.Blocked}
	t := v.Tally()
	_, err := v.LastFailure()
	switch p.Blocked {
	case pool.Starting:
		b.Detail = "EC2 has not answered for the node's interfaces and subnets yet"
	case Coming:
		b.Detail = "EC2 is adding addresses"
	case ProvisioningOff:
		b.Detail = fmt.Sprintf("%d addresses in use, none free", t.InUse)
		b.Hint = "assign secondary addresses to the node's interfaces, or unset DISABLE_NETWORK_RESOURCE_PROVISIONING and ENABLE_IMDS_ONLY_MODE"
	case Unschedulable:
		b.Detail = "the node is unschedulable and AWS_MANAGE_ENIS_NON_SCHEDULABLE is false"
		b.Hint = "uncordon the node or set AWS_MANAGE_ENIS_NON_SCHEDULABLE=true"
	case AddressesCooling:
		b.Detail = fmt.Sprintf("%s, and %d addresses cool down", v.slotsTaken(), t.Cooling)
		b.Hint = "they are free again within IP_COOLDOWN_PERIOD"
	case AddressesInDoubt:
		b.Detail = fmt.Sprintf("the journal was lost, and %d addresses may have been given back just before", v.doubtful())
		b.Hint = "they are free again at " + v.DoubtUntil().UTC().Format("15:04:05 MST")
	case NodeFull:
		b.Detail, b.Hint = v.slotsTaken(), "lower the kubelet's max-pods or use a larger instance type"
		if v.limited() {
			b.Hint = "raise MAX_ENI, or lower the kubelet's max-pods"
		}
	case NoENIConfig:
		b.Detail, b.Hint = v.explainENIConfig()
	case ENIConfigSubnet:
		b.Detail, b.Hint = v.explainCustomSubnet(), v.editENIConfig()
	case InterfacesStuck:
		b.Detail = fmt.Sprintf("%s has all its %d interfaces, and the subnets of those that could take more have no free address; %s", v.Limits.Type, v.MaxENIs(), v.zone)
		b.Hint = "free addresses in those subnets, or drain the node: a new one takes interfaces from subnets that have room"
	case LastSlotKept:
		b.Detail = fmt.Sprintf("the last interface slot of %s needs a subnet with room for %d addresses; %s", v.Limits.Type, v.wholeENI(t.Waiting)+1, v.zone)
		b.Hint = v.subnetHint()
	case TooManyGroups:
		b.Detail = v.tooManyGroups().Error()
	case SubnetsFull:
		b.Detail, b.Hint = v.zone.String(), v.subnetHint()
	case EC2Throttled, EC2Failing:
		b.Detail, b.Hint = fmt.Sprint(err), "the agent tries again by itself"
		if change := v.changeFor(err); change != "" {
			b.Hint = change + "; " + b.Hint
		}
	case EC2Denied:
		b.Detail, b.Hint = fmt.Sprint(err), "grant the action to the role of aws-node"
	default:
	}
	return b
}

// slotsTaken counts the slots of a full node. Each holds an address or a prefix.
func (v view) slotsTaken() string {
	slots, singles := v.Capacity()/v.Unit(), 0
	for _, e := range v.ENIs() {
		for _, b := range e.Sorted() {
			if e.Managed && !e.Barred && !b.IsPrefix() {
				singles++
			}
		}
	}
	s := fmt.Sprintf("all %d address slots of %s", slots, v.Limits.Type)
	if v.limited() {
		s += fmt.Sprintf(" with MAX_ENI=%d", v.Config.MaxENI)
	}
	s += " are taken"
	if v.Prefixes() && singles > 0 {
		s += fmt.Sprintf(", %d of them by single addresses, since a subnet had no prefix left", singles)
	}
	return s
}

// limited tells whether MAX_ENI allows fewer interfaces than the type.
func (v view) limited() bool { return v.MaxENIs() < v.Limits.ENIs }

// explainENIConfig says what is wrong with the node's ENIConfig.
func (v view) explainENIConfig() (detail, hint string) {
	switch {
	case v.Custom().Name == "":
		return "the Node object is not known yet, which says which ENIConfig counts", "check the agent's access to the API server"
	case !v.Custom().Found:
		return cmp.Or(v.Custom().Why, fmt.Sprintf("there is no ENIConfig %s", v.Custom().Name)), ""
	case v.Custom().Why != "":
		return v.Custom().Why, fmt.Sprintf("kubectl edit eniconfig %s", v.Custom().Name)
	}
	return fmt.Sprintf("ENIConfig %s names no subnet", v.Custom().Name), v.editENIConfig()
}

func (v view) explainCustomSubnet() string {
	return fmt.Sprintf("ENIConfig %s names %s, which is no available subnet of %s in %s that this account sees", v.Custom().Name, v.Custom().Subnet, v.Instance.VPC, v.Instance.Zone)
}

func (v view) editENIConfig() string {
	return fmt.Sprintf("kubectl edit eniconfig %s: spec.subnet", v.Custom().Name)
}

// changeFor is what has to change before EC2 takes what it refuses with err; empty when nothing is known to.
func (v view) changeFor(err error) string {
	if hint := v.groupsHint(err); hint != "" || vpc.CodeOf(err) != vpc.LimitReached {
		return hint
	}
	return "raise the account's quota of network interfaces, or delete some that nothing uses"
}

// groupsHint says where the security groups come from that EC2 may refuse with err: the ENIConfig, or nothing to tell.
func (v view) groupsHint(err error) string {
	custom, code := v.Custom(), vpc.CodeOf(err)
	switch groups := len(custom.Groups); {
	case !v.Config.CustomNetworking, groups == 0, code == vpc.Throttled, code == vpc.NotAuthorized:
		return ""
	case code == vpc.TooManyGroups:
		return fmt.Sprintf("ENIConfig %s names %d security groups: kubectl edit eniconfig %[1]s", custom.Name, groups)
	case code == vpc.LimitReached:
		return ""
	}
	return "if it is about a security group: kubectl edit eniconfig " + custom.Name
}

func (v view) subnetHint() string {
	if v.Config.CustomNetworking {
		return fmt.Sprintf("point spec.subnet of ENIConfig %s to a subnet in %s that has room", v.Custom().Name, v.Instance.Zone)
	}
	return fmt.Sprintf("create a subnet in %s of %s with tag %s=1, or tag one that has room", v.Instance.Zone, v.Instance.VPC, vpc.TagCNIRole)
}

// addressSlots is how many blocks the attached interfaces could still take by the type's limit.
func (v view) addressSlots() int {
	n := 0
	for _, e := range v.ENIs() {
		if e.Managed && e.Phase == pool.Attached && !e.Barred {
			n += max(v.Slots()-len(e.Blocks), 0)
		}
	}
	return n
}
