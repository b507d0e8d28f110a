package ipam

import (
	"fmt"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Reasons why a pod waits.
const (
	Coming           Why = "addresses-coming"      // EC2 is adding them
	NodeFull         Why = "node-full"             // the instance type takes no more
	SubnetsFull      Why = "subnets-full"          // no usable subnet has room
	LastSlotKept     Why = "last-slot-kept"        // no usable subnet can fill the node's last interface
	Unschedulable    Why = "node-unschedulable"    // and AWS_MANAGE_ENIS_NON_SCHEDULABLE is false
	ProvisioningOff  Why = "provisioning-disabled" // DISABLE_NETWORK_RESOURCE_PROVISIONING
	NoENIConfig      Why = "no-eniconfig"          // custom networking is on, and the node's ENIConfig does not exist or names no subnet
	ENIConfigSubnet  Why = "eniconfig-subnet"      // it names a subnet that interfaces of this node cannot lie in
	EC2Throttled     Why = "ec2-throttled"
	EC2Denied        Why = "ec2-not-authorized"
	EC2Failing       Why = "ec2-failing"
	AddressesCooling Why = "addresses-cooling"
	AddressesInDoubt Why = "addresses-in-doubt" // the journal was lost; held until a read can tell
)

// Blocked says why pods wait, what was found, and what to do.
type Blocked struct {
	Why    Why
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
func (s *State) blocked(t Tally, promised int, now time.Time) Why {
	var why Why
	switch {
	case t.Waiting == 0:
		return ""
	case !s.Ready():
		why = Starting
	case !s.Config.Provision || !s.Config.ReadEC2:
		return ProvisioningOff
	case s.holdsGrowth():
		return Unschedulable
	case s.Config.CustomNetworking && s.custom.Subnet == "":
		return NoENIConfig
	case t.Coming+promised >= t.Waiting:
		why = Coming
	default:
		why = s.noRoom(t)
	}
	if _, flying := s.inflight[s.lastKey]; !s.tries.Failed(s.lastKey) || s.tries.May(s.lastKey, now) && !flying {
		return why // what failed has worked since, or nobody needs it any more: else it would wait, or be tried
	}
	switch vpc.CodeOf(s.lastErr) {
	case vpc.Throttled:
		return EC2Throttled
	case vpc.NotAuthorized:
		return EC2Denied
	case vpc.Internal, vpc.Inconsistent, vpc.Invalid, vpc.LimitReached:
		// A refused creation hides behind the subnets, which have room.
		if why == Coming || why == Starting || s.lastKey == keyGrow {
			return EC2Failing
		}
	default:
	}
	return why
}

// noRoom finds what limits a node whose pods wait for more than what is coming.
func (s *State) noRoom(t Tally) Why {
	slots := s.freeSlots()
	switch {
	case s.doubtful() > 0 && s.doubtful() >= t.Waiting: // the wait ends by itself, whatever the subnets are like
		return AddressesInDoubt
	case slots <= 0 && s.addressSlots() == 0 && t.Cooling > 0:
		return AddressesCooling
	case slots <= 0 && s.addressSlots() == 0 && s.doubtful() > 0:
		return AddressesInDoubt
	case slots <= 0 && s.addressSlots() == 0:
		return NodeFull
	case !s.zone.Told():
		return Starting
	case s.Config.CustomNetworking && !s.customUsable():
		return ENIConfigSubnet
	case slots == 1 && s.zone.Best() > 1:
		return LastSlotKept
	}
	return SubnetsFull
}

// customUsable tells whether the subnet that custom networking names is one that interfaces of this node can lie in.
func (s *State) customUsable() bool {
	sn, ok := s.zone.Find(s.custom.Subnet)
	usable, _ := subnet.Judge(s.zone.Rules(), sn)
	return ok && usable
}

// doubtful is how many addresses are held because the journal was lost.
func (s *State) doubtful() (n int) {
	for _, e := range s.order {
		if e.Managed {
			n += e.Doubted(ledger.MaybeGone)
		}
	}
	return n
}

// Explain puts a plan's reason into words that name the figures and the next step.
func (s *State) Explain(p Plan) Blocked {
	b := Blocked{Why: p.Blocked}
	t := s.Tally()
	capacity := s.Capacity()
	switch p.Blocked {
	case Starting:
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
		b.Detail = fmt.Sprintf("all %d address slots of %s are taken, %d of them cool down", capacity, s.Limits.Type, t.Cooling)
		b.Hint = "they are free again within IP_COOLDOWN_PERIOD"
	case AddressesInDoubt:
		b.Detail = fmt.Sprintf("the journal was lost, and %d addresses may have been given back just before", s.doubtful())
		b.Hint = "they are free again at " + s.book.DoubtUntil().UTC().Format("15:04:05 MST")
	case NodeFull:
		b.Detail = fmt.Sprintf("all %d address slots of %s are taken", capacity, s.Limits.Type)
		b.Hint = "lower the kubelet's max-pods or use a larger instance type"
	case NoENIConfig:
		b.Detail, b.Hint = s.explainENIConfig()
	case ENIConfigSubnet:
		b.Detail, b.Hint = s.explainCustomSubnet(), s.editENIConfig()
	case LastSlotKept:
		b.Detail = fmt.Sprintf("the last interface slot of %s needs a subnet with room for %d addresses; %s", s.Limits.Type, s.wholeENI(t.Waiting)+1, s.zone)
		b.Hint = s.subnetHint()
	case SubnetsFull:
		b.Detail, b.Hint = s.zone.String(), s.subnetHint()
	case EC2Throttled, EC2Failing:
		b.Detail, b.Hint = fmt.Sprint(s.lastErr), "the agent tries again by itself"
		if vpc.CodeOf(s.lastErr) == vpc.LimitReached {
			b.Hint = "raise the account's quota of network interfaces, or delete some that nothing uses; " + b.Hint
		}
	case EC2Denied:
		b.Detail, b.Hint = fmt.Sprint(s.lastErr), "grant the action to the role of aws-node"
	default:
	}
	return b
}

// explainENIConfig says what is wrong with the node's ENIConfig.
func (s *State) explainENIConfig() (detail, hint string) {
	switch {
	case s.custom.Name == "":
		return "the Node object is not known yet, which says which ENIConfig counts", "check the agent's access to the API server"
	case !s.custom.Found:
		return fmt.Sprintf("there is no ENIConfig %s", s.custom.Name),
			"create it, or label the node with vpc.amazonaws.com/externalEniConfig=<name of one>; kubectl get eniconfigs lists them"
	}
	return fmt.Sprintf("ENIConfig %s names no subnet", s.custom.Name), s.editENIConfig()
}

func (s *State) explainCustomSubnet() string {
	return fmt.Sprintf("ENIConfig %s names %s, which is no available subnet of %s in %s that this account sees", s.custom.Name, s.custom.Subnet, s.Instance.VPC, s.Instance.Zone)
}

func (s *State) editENIConfig() string {
	return fmt.Sprintf("kubectl edit eniconfig %s: spec.subnet", s.custom.Name)
}

func (s *State) subnetHint() string {
	if s.Config.CustomNetworking {
		return fmt.Sprintf("point spec.subnet of ENIConfig %s to a subnet in %s that has room", s.custom.Name, s.Instance.Zone)
	}
	return fmt.Sprintf("create a subnet in %s of %s with tag %s=1, or tag one that has room", s.Instance.Zone, s.Instance.VPC, vpc.TagCNIRole)
}

// addressSlots is how many blocks the attached interfaces could still take by the type's limit.
func (s *State) addressSlots() int {
	n := 0
	for _, e := range s.order {
		if e.Managed && e.Phase == Attached && !e.Barred {
			n += max(s.slots()-len(e.Blocks), 0)
		}
	}
	return n
}
