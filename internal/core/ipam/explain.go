package ipam

import (
	"fmt"
	"strings"

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
	EC2Throttled     Why = "ec2-throttled"
	EC2Denied        Why = "ec2-not-authorized"
	EC2Failing       Why = "ec2-failing"
	AddressesCooling Why = "addresses-cooling"
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

// explain finds why pods wait; its Why is empty when none does. Promised addresses are those about to be added.
func (s *State) explain(promised int) Blocked {
	t := s.Tally()
	t.Coming += promised
	switch {
	case t.Waiting == 0:
		return Blocked{}
	case !s.Ready():
		return s.explainError(Blocked{Why: Starting, Detail: "EC2 was not read yet"})
	case !s.Config.Provision || !s.Config.ReadEC2:
		return Blocked{Why: ProvisioningOff, Detail: fmt.Sprintf("%d addresses in use, none free", t.InUse),
			Hint: "assign secondary addresses to the node's interfaces, or unset DISABLE_NETWORK_RESOURCE_PROVISIONING and ENABLE_IMDS_ONLY_MODE"}
	case s.Unschedulable && !s.Config.ManageUnschedulable:
		return Blocked{Why: Unschedulable, Detail: "the node is unschedulable and AWS_MANAGE_ENIS_NON_SCHEDULABLE is false",
			Hint: "uncordon the node or set AWS_MANAGE_ENIS_NON_SCHEDULABLE=true"}
	case t.Coming >= t.Waiting:
		return s.explainError(Blocked{Why: Coming, Detail: fmt.Sprintf("EC2 is adding %d addresses", t.Coming)})
	}
	return s.explainError(s.explainRoom(t))
}

// explainError lets the cloud's last refusal speak where it is the cause.
func (s *State) explainError(b Blocked) Blocked {
	if s.lastErr == nil {
		return b
	}
	switch vpc.CodeOf(s.lastErr) {
	case vpc.Throttled:
		return Blocked{Why: EC2Throttled, Detail: s.lastErr.Error(), Hint: "the agent tries again by itself"}
	case vpc.NotAuthorized:
		return Blocked{Why: EC2Denied, Detail: s.lastErr.Error(), Hint: "grant the action to the role of aws-node"}
	case vpc.Internal, vpc.Inconsistent, vpc.Invalid:
		if b.Why == Coming || b.Why == Starting {
			return Blocked{Why: EC2Failing, Detail: s.lastErr.Error(), Hint: "the agent tries again by itself"}
		}
	default:
	}
	return b
}

func (s *State) explainRoom(t Tally) Blocked {
	slots := s.freeSlots()
	if slots <= 0 && s.addressSlots() == 0 {
		if t.Cooling > 0 {
			return Blocked{Why: AddressesCooling, Detail: fmt.Sprintf("all %d address slots of %s are taken, %d of them cool down", s.capacity(), s.Limits.Type, t.Cooling),
				Hint: "they are free again within IP_COOLDOWN_PERIOD"}
		}
		return Blocked{Why: NodeFull, Detail: fmt.Sprintf("all %d address slots of %s are taken", s.capacity(), s.Limits.Type),
			Hint: "lower the kubelet's max-pods or use a larger instance type"}
	}
	if s.subnetsRead.IsZero() {
		return Blocked{Why: Starting, Detail: "the subnets were not read yet"}
	}
	room := 0
	for _, sn := range subnet.Order(s.rules(), s.subnets) {
		if _, full := s.full[sn.ID]; !full {
			room = max(room, s.left(sn)-1)
		}
	}
	hint := fmt.Sprintf("create a subnet in %s of %s with tag %s=1, or tag one that has room", s.Instance.Zone, s.Instance.VPC, vpc.TagCNIRole)
	if slots == 1 && room >= 1 {
		return Blocked{Why: LastSlotKept, Hint: hint,
			Detail: fmt.Sprintf("the last interface slot of %s needs a subnet with room for %d addresses; %s", s.Limits.Type, s.wholeENI(t.Waiting)+1, s.subnetLine())}
	}
	return Blocked{Why: SubnetsFull, Detail: s.subnetLine(), Hint: hint}
}

// addressSlots is how many addresses the attached interfaces could still take by the type's limit.
func (s *State) addressSlots() int {
	n := 0
	for _, e := range s.order {
		if e.Managed && e.Phase == Attached && !e.Barred {
			n += max(s.perENI()-len(e.Addresses), 0)
		}
	}
	return n
}

func (s *State) capacity() int { return max(s.maxENIs()-s.unmanaged(), 0) * s.perENI() }

// subnetLine names the zone's subnets with their room, or why they are not used.
func (s *State) subnetLine() string {
	var parts []string
	for _, sn := range s.subnets {
		usable, why := subnet.Judge(s.rules(), sn)
		switch _, full := s.full[sn.ID]; {
		case usable && full:
			parts = append(parts, fmt.Sprintf("%s %s has no free address", sn.ID, sn.CIDR))
		case usable:
			parts = append(parts, fmt.Sprintf("%s %s has %d free", sn.ID, sn.CIDR, s.left(sn)))
		case why == subnet.Untagged && sn.Free == 0:
		default:
			parts = append(parts, fmt.Sprintf("%s %s is not used (%s)", sn.ID, sn.CIDR, why))
		}
	}
	if len(parts) == 0 {
		return "no subnet in " + string(s.Instance.Zone)
	}
	return strings.Join(parts, ", ")
}
