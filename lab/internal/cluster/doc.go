// Package cluster knows what eksctl and EKS make out of a ClusterConfig: it reads the file, plans the VPC, the subnets
// and the node groups, and builds them through the simulator's API.
//
// Reading and planning are pure. What of the file the lab does not support is a warning when a cluster without it
// still does what was asked for, and an error that names the field otherwise.
//
//	VPC 10.0.0.0/24, cut into eight parts as eksctl does
//	  /27 public a   /27 public b   /27 public c     internet gateway; the NAT gateway is in a
//	  /27 private a  /27 private b  /27 private c    nodes, spread from a on
//	  two parts stay free
package cluster
