// Package vpc is the vocabulary that every other package shares: identifiers, subnets, network interfaces (ENIs),
// security groups, the limits of EC2 instance types, and the closed set of error codes.
//
// It holds values only: no I/O, no clock. Names are those of the EC2 API reference. Addresses are net/netip, so
// nothing here assumes one address family, one network card, or one address per pod.
package vpc
