// Package ledger knows whose each address of a node's interfaces is. It takes the word of three parties: of pods, which are
// given addresses and give them back; of the kernel, which shows addresses on live links; and of EC2, whose reads lag behind
// our writes. It decides what may be given to a pod, and what may be given back to EC2; which of that is done, and when, is
// not its business. No I/O, no clock.
//
// An address is in one phase:
//
//	             Give                      Release
//	(EC2) ──► free ───────► in use ─────────────────► cooling ──► free
//	  ▲        │ Leave                                   ▲  (until)
//	  │        ▼                                         │ the link is gone
//	  └──── leaving          held: the kernel shows a live link that no record names
//
// EC2 gives and takes blocks: single addresses, and prefixes of sixteen. An address comes and goes with its block, and only a
// block of which no pod has anything leaves. A block may be in doubt, and its addresses with it: EC2 left it out, or shows it
// by a read that may be older than an unassignment of a run whose journal is lost. A later read ends the doubt, or the block.
//
// What holds always: an address is in use by one pod at most; one that is held, in doubt, cooling or leaving is given to no
// pod; one that the kernel shows on a live link, or that a pod has, is neither given back nor forgotten.
package ledger
