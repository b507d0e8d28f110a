// Package addressing knows which addresses and /28 prefixes of one subnet are assigned, and chooses free ones as EC2
// does: pseudo-randomly, whole aligned blocks for prefixes, never from ranges set aside for something else, and an
// address that was freed only after all others. Time and randomness are arguments.
//
// In a /24 the map looks like this; a prefix needs a block that is wholly free:
//
//	block   .0/28        .16/28   .32/28            …  .224/28   .240/28
//	        RRRR-------  -------  P P P P P P P P      --a----   -----------R
//	R: EC2's own (five per subnet, so the first and last block never serve as prefixes)
//	P: a delegated prefix     a: an assigned address, which breaks its block
package addressing
