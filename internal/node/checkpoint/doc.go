// Package checkpoint is the file in which the Amazon VPC CNI (amazon-vpc-cni-k8s) keeps which pod has which address,
// /var/run/aws-node/ipam.json. It is read when a node comes from that CNI, and kept up to date for the way back.
//
//	start:   file, journal, kernel --Judge--> records for the journal
//	running: Save (from the loop, never waits) --> Run: marks, then file, each written beside and renamed
//	stop:    Close writes what is still open
//
// The kernel decides, the file only names: an entry is believed when the host's end of its pod's link is there and nothing
// speaks against it. What the kernel shows and nobody can name is held by the loop. Whose word is newer, the journal's or
// the file's, is told by the marks: checksums of what this agent wrote, in a file beside it, made durable before the file
// is replaced. A file with another checksum was written by the other CNI meanwhile.
//
// The package never fails an ADD, never makes one wait, and never frees an address of a link that is there.
package checkpoint
