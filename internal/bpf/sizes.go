package bpf

// Sizes are how many entries maps may have.
type Sizes struct {
	Peers      uint32 // addresses that have a class: pods of the cluster that policies of this node name
	Blocks     uint32 // prefixes of each family
	Rows       uint32
	Ranges     uint32
	Interfaces uint32 // pods of the node, and slots
	Flows      uint32 // the oldest makes place when there are more
	Fragments  uint32 // datagrams in fragments that are under way
	Counts     uint32
	Services   uint32 // addresses of Services and of the node itself
	Events     uint32 // bytes of the ring buffer: a power of two, at least a page
	Answers    uint32 // the same, for answers of DNS that wait to be read: 512 each, or 1536
}

// SizesFor are the sizes for a node with so many bytes of memory. Flows take 104 bytes each from the start, about 0.3 % of the
// memory; peers take 16 from the start and 96 more when they are there, the other maps together less than 2 MB.
func SizesFor(memory uint64) Sizes {
	const gib = 1 << 30
	s := Sizes{
		Peers: 32768, Blocks: 16384, Rows: 8192, Ranges: 8192, Interfaces: 512,
		Flows:     powerBelow(memory/(32<<10), 1<<16, 1<<20),
		Fragments: 512, Counts: 2048, Services: 16384, Events: 64 << 10, Answers: 32 << 10,
	}
	if memory >= 4*gib {
		s.Peers, s.Rows = 131072, 16384
	}
	if memory >= 64*gib {
		s.Peers, s.Blocks, s.Rows, s.Ranges = 524288, 65536, 65536, 65536
		s.Interfaces, s.Fragments, s.Counts, s.Services, s.Events, s.Answers = 1024, 8192, 16384, 65536, 1<<20, 256<<10
	}
	return s
}

// powerBelow is the power of two at or below n, within bounds.
func powerBelow(n uint64, lowest, highest uint32) uint32 {
	power := lowest
	for power < highest && uint64(power)*2 <= n {
		power *= 2
	}
	return power
}

// byMap are the sizes by the names that maps have in the object.
func (s Sizes) byMap() map[string]uint32 {
	return map[string]uint32{
		"peers": s.Peers, "blocks4": s.Blocks, "blocks6": s.Blocks, "rows": s.Rows, "ranges": s.Ranges,
		"interfaces": s.Interfaces, "pods": s.Interfaces, "slots": s.Interfaces, "services": s.Services,
		"flows": s.Flows, "frags": s.Fragments, "counts": s.Counts, "events": s.Events, "answers": s.Answers,
	}
}
