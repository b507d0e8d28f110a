package subnet

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// fullFor is how long EC2's word that a subnet is full outweighs a count that says otherwise.
const fullFor = 30 * time.Second

// brokenFor is how long EC2's word that a subnet has no prefix left stands, unless its map says otherwise before.
const brokenFor = 5 * time.Minute

// Unknown is the room of a subnet that nobody may count.
const Unknown = -1

// Zone is what a node knows of the subnets of its zone: as last read, less what the node took since, and without those that
// EC2 called full.
type Zone struct {
	rules  Rules
	list   []vpc.Subnet
	readAt time.Time // asked at; zero before the first answer
	denied bool      // IAM refuses the read, so that room stays unknown
	full   map[vpc.SubnetID]refusal
	taken  map[vpc.SubnetID]int // since the read, or still under way then
	// broken are the subnets that EC2 found no prefix in, and when.
	broken map[vpc.SubnetID]time.Time
	// belied are the subnets whose map EC2 contradicted, and when: it does not show interfaces of other accounts.
	belied map[vpc.SubnetID]time.Time
	maps   map[vpc.SubnetID]*Space
	races  map[vpc.SubnetID]races
}

// refusal is EC2's word that a subnet is full, and the count at that time.
type refusal struct {
	at   time.Time
	free int
}

// NewZone returns the zone of a node that has read nothing yet.
func NewZone(r Rules) *Zone {
	return &Zone{
		rules: r, full: make(map[vpc.SubnetID]refusal), taken: make(map[vpc.SubnetID]int), broken: make(map[vpc.SubnetID]time.Time),
		belied: make(map[vpc.SubnetID]time.Time), maps: make(map[vpc.SubnetID]*Space), races: make(map[vpc.SubnetID]races),
	}
}

// SetRules changes what decides about a subnet.
func (z *Zone) SetRules(r Rules) { z.rules = r }

// NoPrefix tells that EC2 found no prefix in a subnet. When it says so a second time, of a subnet whose map showed one in
// between, it is the map that is wrong.
func (z *Zone) NoPrefix(id vpc.SubnetID, now time.Time) {
	at, before := z.broken[id]
	if m := z.maps[id]; before && now.Sub(at) < brokenFor && m != nil && m.At().After(at) && m.FreePrefixes() > 0 {
		z.belied[id] = now
	}
	z.broken[id] = now
}

// Belied tells whether EC2's word of prefixes in a subnet counts for more than its map.
func (z *Zone) Belied(id vpc.SubnetID, now time.Time) bool {
	at, belied := z.belied[id]
	return belied && now.Sub(at) < brokenFor
}

// Broken tells whether a subnet has no prefix left: by its map, or by EC2's word where that is younger. After brokenFor it is
// worth another try: addresses come and go.
func (z *Zone) Broken(id vpc.SubnetID, now time.Time) bool {
	at, broken := z.broken[id]
	if z.Belied(id, now) {
		return true
	}
	if m := z.maps[id]; m != nil && m.At().After(at) && now.Sub(m.At()) <= mapFor {
		return m.FreePrefixes() == 0
	}
	return broken && now.Sub(at) < brokenFor
}

// BrokenAt is when EC2 last found no prefix in a subnet, zero when it never did.
func (z *Zone) BrokenAt(id vpc.SubnetID) time.Time { return z.broken[id] }

// Rules returns what decides about a subnet on this node.
func (z *Zone) Rules() Rules { return z.rules }

// Subnets returns the subnets as last read.
func (z *Zone) Subnets() []vpc.Subnet { return z.list }

// ReadAt is when the last answer was asked for, zero before the first.
func (z *Zone) ReadAt() time.Time { return z.readAt }

// Read folds a read that was asked at askedAt; what is under way then may or may not show in its counts. It tells whether
// the subnets differ in more than their counts, which move with every pod of every node.
func (z *Zone) Read(list []vpc.Subnet, askedAt time.Time, underWay map[vpc.SubnetID]int) (news bool) {
	list = slices.SortedFunc(slices.Values(list), func(a, b vpc.Subnet) int { return cmp.Compare(a.ID, b.ID) }) // EC2 promises no order
	list = slices.DeleteFunc(list, func(sn vpc.Subnet) bool { return !sn.CIDR.IsValid() })                      // IPv6 only
	news = !slices.EqualFunc(z.list, list, func(a, b vpc.Subnet) bool {
		return a.ID == b.ID && a.CIDR == b.CIDR && a.Available == b.Available && maps.Equal(a.Tags, b.Tags)
	})
	z.list, z.readAt, z.denied, z.taken = list, askedAt, false, underWay
	for id, r := range z.full {
		// The count lags behind refusals: the mark goes when it moved, or when it had time to.
		if sn, listed := z.Find(id); askedAt.After(r.at) && (!listed || sn.Free > r.free || askedAt.Sub(r.at) > fullFor) {
			delete(z.full, id)
		}
	}
	return news
}

// Deny tells whether IAM refused the last read.
func (z *Zone) Deny(denied bool) { z.denied = denied }

// Told tells whether all is known that can be.
func (z *Zone) Told() bool { return !z.readAt.IsZero() || z.denied }

// Find returns a subnet as last read.
func (z *Zone) Find(id vpc.SubnetID) (vpc.Subnet, bool) {
	for _, sn := range z.list {
		if sn.ID == id {
			return sn, true
		}
	}
	return vpc.Subnet{}, false
}

// Outside tells whether a subnet of the VPC lies in none of its blocks that are known.
func (z *Zone) Outside(blocks []netip.Prefix) bool {
	return slices.ContainsFunc(z.list, func(sn vpc.Subnet) bool {
		return sn.VPC == z.rules.VPC && !slices.ContainsFunc(blocks, sn.CIDR.Overlaps)
	})
}

// Take counts n addresses as taken, or as given back when n is negative.
func (z *Zone) Take(id vpc.SubnetID, n int) { z.taken[id] = max(z.taken[id]+n, 0) }

// Refused tells that EC2 called a subnet full.
func (z *Zone) Refused(id vpc.SubnetID, now time.Time) {
	sn, _ := z.Find(id)
	z.full[id] = refusal{at: now, free: sn.Free}
}

// isFull tells whether EC2's word that a subnet is full still stands. Normally a later read of the subnets ends it; where
// none is allowed, time does.
func (z *Zone) isFull(id vpc.SubnetID, now time.Time) bool {
	r, full := z.full[id]
	return full && (!z.denied || now.Sub(r.at) < fullFor)
}

// Judged calls f with each time at which a refusal may be judged again.
func (z *Zone) Judged(f func(time.Time)) {
	for _, r := range z.full {
		f(r.at.Add(fullFor))
	}
	for _, at := range z.broken {
		f(at.Add(brokenFor))
	}
}

// Left is what a subnet has left: its count less what was taken since, nothing when EC2 called it full.
func (z *Zone) Left(sn vpc.Subnet) int {
	if _, full := z.full[sn.ID]; full {
		return 0
	}
	return z.left(sn)
}

// left is a subnet's count less what was taken since.
func (z *Zone) left(sn vpc.Subnet) int { return max(sn.Free-z.taken[sn.ID], 0) }

// Room is how many more addresses interfaces in a subnet may get; known is false when nothing is known that would forbid
// to ask EC2.
func (z *Zone) Room(id vpc.SubnetID, now time.Time) (free int, known bool) {
	sn, listed := z.Find(id)
	if usable, _ := Judge(z.rules, sn); z.isFull(id, now) || listed && !usable {
		return 0, true
	}
	return z.left(sn), listed
}

// Candidates are the subnets that a new interface may be made in, most room first; each Free is what is left. When the
// subnets cannot be read for lack of permission, or were not and discovery is off, the node's own is tried, its room
// Unknown.
func (z *Zone) Candidates(now time.Time) []vpc.Subnet {
	own := z.rules.Primary
	if z.rules.Custom {
		own = z.rules.CustomSubnet
	}
	if own != "" && z.readAt.IsZero() && (z.denied || !z.rules.Discovery && !z.rules.Custom) && !z.isFull(own, now) {
		return []vpc.Subnet{{ID: own, VPC: z.rules.VPC, Zone: z.rules.Zone, Free: Unknown}}
	}
	list := slices.Clone(z.list)
	for i := range list {
		list[i].Free = z.left(list[i])
	}
	return slices.DeleteFunc(Order(z.rules, list), func(sn vpc.Subnet) bool { return z.isFull(sn.ID, now) })
}

// Best is what the usable subnet with most room has left, zero when EC2 called them all full.
func (z *Zone) Best() int {
	best := 0
	for _, sn := range Order(z.rules, z.list) {
		if _, full := z.full[sn.ID]; !full {
			best = max(best, z.left(sn))
		}
	}
	return best
}

// String names the subnets with their room, or why they are not used. Foreign ones that are full help nobody.
func (z *Zone) String() string {
	var parts []string
	for _, sn := range z.list {
		usable, why := Judge(z.rules, sn)
		switch _, full := z.full[sn.ID]; {
		case usable && full:
			parts = append(parts, fmt.Sprintf("%s %s has no free address", sn.ID, sn.CIDR))
		case usable:
			parts = append(parts, fmt.Sprintf("%s %s has %d free", sn.ID, sn.CIDR, z.left(sn)))
		case why == Untagged && sn.Free == 0:
		default:
			parts = append(parts, fmt.Sprintf("%s %s is not used (%s)", sn.ID, sn.CIDR, why))
		}
	}
	if z.denied {
		parts = append(parts, "IAM denies ec2:DescribeSubnets, so that only "+string(z.rules.Primary)+" is tried")
	}
	if len(parts) == 0 {
		return "no subnet in " + string(z.rules.Zone)
	}
	return strings.Join(parts, ", ")
}
