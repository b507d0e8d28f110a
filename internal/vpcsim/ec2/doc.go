// Package ec2 is the vocabulary of EC2's API as the simulated VPC speaks it: the requests and replies of each action,
// errors with EC2's codes and messages, and the matching of filters. It holds values and pure functions only.
//
// Structs and members are spelt exactly as EC2's API reference and the SDKs spell them (VpcId, not VPCID) and nest in
// the same way, so that a codec can translate by name. Identifiers, addresses and blocks are strings here because a
// request may carry malformed ones. A pointer marks a member whose absence differs from its zero value; in replies, an
// empty string stands for an absent member except in Tag.Value and Description, where it is a value. Members of the
// real API that the simulation gives no meaning to are left out.
package ec2
