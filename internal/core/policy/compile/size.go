package compile

import "github.com/berth-net/berth/internal/core/policy/tables"

// Limits are the sizes of the datapath's maps. Zero is no limit.
type Limits struct{}

func (l Limits) orDefaults() Limits { return l }

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
	next    uint32
	wrapped bool
}

func (f *flush) id() uint32 {
	id := f.c.ids.next
	f.c.ids.next++
	return id
}

func (f *flush) setID() uint32 { return f.id() & uint32(tables.Set(idMask)) }
