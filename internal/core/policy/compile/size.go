package compile

import (
	"fmt"
	"maps"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Size is what the tables hold.
type Size struct {
	Sets, Classes, Blocks int
	Peers                 int // addresses that have a class
	Prefixes              int
	Rows                  int
	Ranges                int // places in the array that rows refer to
}

// Size counts what the tables hold once all changes have been made.
func (c *Compiler) Size() Size {
	s := c.size
	for _, l := range c.ranges.lists {
		s.Ranges += len(l.ranges)
	}
	return s
}

// ids gives out the ids of sets, classes and blocks.
type ids struct {
	next    uint32 // of classes and blocks
	nextSet uint32
	wrapped bool // sets begin again: flows must not take a new one for the one that they remember
}

func (f *flush) id() uint32 {
	id := f.c.ids.next
	f.c.ids.next++
	return id
}

// setID is an id that no set has. They are fewer than others, since flags take room.
func (f *flush) setID() uint32 {
	ids := &f.c.ids
	for {
		if ids.nextSet > idMask {
			ids.nextSet, ids.wrapped = 1, true
		}
		id := ids.nextSet
		ids.nextSet++
		if _, used := f.c.setIDs[id]; !used {
			f.c.setIDs[id] = struct{}{}
			return id
		}
	}
}

// Problem is something that a policy asks for and the tables cannot hold. What it affects is denied.
type Problem struct {
	Policies []policy.Ref // that have a part in it
	Why      string
}

// Problems are those of the policies in use, in order.
func (c *Compiler) Problems() []Problem {
	by := make(map[string]Problem)
	for _, s := range c.sets {
		if !s.tooLong {
			continue
		}
		p := Problem{Why: fmt.Sprintf("more than %d ranges of ports for one peer in %s: all packets of such peers are denied; merge ranges or select fewer pods with each policy",
			tables.MaxRanges, s.halves[0].direction)}
		for _, h := range s.halves {
			p.Policies = append(p.Policies, h.ref)
		}
		by[fmt.Sprint(p)] = p
	}
	for _, s := range c.subjects {
		for _, no := range s.refused {
			if no != nil {
				p := Problem{Policies: []policy.Ref{no.policy}, Why: no.why}
				by[fmt.Sprint(p)] = p
			}
		}
	}
	var all []Problem
	for _, key := range slices.Sorted(maps.Keys(by)) {
		all = append(all, by[key])
	}
	return all
}
