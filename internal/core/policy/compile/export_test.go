package compile

import "maps"

// Census counts what a Compiler keeps, so that tests see what it fails to forget.
func (c *Compiler) Census() map[string]int {
	n := c.peers.Census()
	maps.Copy(n, map[string]int{
		"policies": len(c.policies), "selecting": len(c.selecting), "locals": len(c.locals), "local keys": len(c.localKeys),
		"uses": len(c.uses), "classes": len(c.classes), "sets": len(c.sets), "subjects": len(c.subjects), "cidrs": len(c.blocks.cidrs),
		"cidrs by id": len(c.blocks.byID), "cidrs at": len(c.blocks.at), "boundaries": len(c.blocks.boundaries),
		"blocks by signature": len(c.blocks.bySig), "lists": len(c.ranges.lists), "rules": len(c.rules) - len(c.dirty.retired),
		"numbers": len(c.numbers),
	})
	for _, u := range c.uses {
		n["sets of atoms"] += len(u.sets)
		n["classes of atoms"] += len(u.classes)
	}
	for _, x := range c.blocks.cidrs {
		n["sets of cidrs"] += len(x.sets)
		n["blocks of cidrs"] += len(x.blocks)
		n["references of cidrs"] += x.refs
	}
	for _, l := range c.ranges.lists {
		n["rows of lists"] += l.refs
		n["places"] += 1 << order(len(l.ranges))
	}
	n["places"] += c.ranges.freePlaces() - int(c.ranges.end) // zero more or less when each place is free or in one list
	return n
}

func (r *ranges) freePlaces() int {
	n := 0
	for o := range r.free {
		n += len(r.free[o].in) << o
	}
	return n
}
