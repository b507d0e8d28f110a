package subnet

import (
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

const (
	// mapFor is how long a map is good enough to choose names by. What others took since makes a lost race, and that a new map.
	mapFor = 10 * time.Minute
	// raceFor is how long a lost race counts, and mostRaces how many of them until EC2 chooses.
	raceFor   = 30 * time.Second
	mostRaces = 2
	// hiddenPart of the free addresses may be hidden from a map that names are chosen by.
	hiddenPart = 10
)

// races are names that somebody else had.
type races struct {
	n    int
	last time.Time
}

// Map takes over the map of a subnet.
func (z *Zone) Map(id vpc.SubnetID, s *Space) { z.maps[id] = s }

// MapOf returns the last map of a subnet, nil before the first.
func (z *Zone) MapOf(id vpc.SubnetID) *Space { return z.maps[id] }

// Taken notes that blocks of a subnet are in use: we asked for them, or somebody else has them.
func (z *Zone) Taken(id vpc.SubnetID, blocks []vpc.Block) {
	if m := z.maps[id]; m != nil {
		for _, b := range blocks {
			m.Take(b)
		}
	}
}

// Given notes that blocks of a subnet are free again.
func (z *Zone) Given(id vpc.SubnetID, blocks []vpc.Block) {
	if m := z.maps[id]; m != nil {
		for _, b := range blocks {
			m.Give(b)
		}
	}
}

// Lost notes that somebody else has what was named.
func (z *Zone) Lost(id vpc.SubnetID, now time.Time) {
	r := z.races[id]
	if now.Sub(r.last) >= raceFor {
		r.n = 0
	}
	z.races[id] = races{r.n + 1, now}
}

// Naming says how names are chosen in a subnet.
type Naming int

// The ways.
const (
	ByEC2  Naming = iota // there is no map, it shows too little, or there is nothing to protect: EC2 chooses
	ByMap                // the map is good
	Reread               // a race was lost: the map has to be read again first
)

// Naming says how names are chosen in a subnet now.
func (z *Zone) Naming(id vpc.SubnetID, now time.Time) Naming {
	m := z.maps[id]
	if m == nil || now.Sub(m.At()) > mapFor || m.Hidden()*hiddenPart > m.FreeAddrs() || !m.protects() {
		return ByEC2
	}
	switch r := z.races[id]; {
	case r.n >= mostRaces && now.Sub(r.last) < raceFor:
		return ByEC2
	case r.n > 0 && now.Sub(r.last) < raceFor && !m.At().After(r.last):
		return Reread
	}
	return ByMap
}

// protects tells whether names matter: there is a whole block that EC2 might break, or a reservation that EC2 takes no single
// address from, not even the last. Without either EC2 chooses as well as the map, and its choice loses no race: in a subnet
// that is so full, the nodes that ask at the same moment would draw from the same few addresses.
func (s *Space) protects() bool { return s.FreePrefixes() > 0 || s.Reserved() }

// Clone returns a copy that is changed apart.
func (s *Space) Clone() *Space {
	c := *s
	c.used, c.count = slices.Clone(s.used), slices.Clone(s.count)
	return &c
}

// Reserved tells whether a part of the subnet is set aside for prefixes.
func (s *Space) Reserved() bool {
	return slices.ContainsFunc(s.aside[prefixes], func(w uint64) bool { return w != 0 })
}

// Blocks is the number of /28 in the subnet, those included that can never be a prefix.
func (s *Space) Blocks() int { return len(s.count) }
