// Package ec2api serves EC2's actions out of the simulated VPC: it ties each operation of the wire protocol to the
// simulator's method of that name and translates between the SDK's structures and the simulator's.
//
// Both sides spell structures and members as EC2's API reference does, so the translation is by name, checked in full when
// the actions are registered: a member that the SDK does not have stops the program at its start. Members that only the
// SDK has are those to which the simulation gives no meaning; in requests they are accepted and ignored.
//
// Pages are cut here, since a page is a matter of the wire. Delays, faults and signatures are not: they come before an
// action runs, in package wire.
package ec2api
