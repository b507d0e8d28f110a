package world

import (
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// Caller is who makes a call: calls are counted per action, caller and outcome, tags are kept per account, and
// policies are evaluated for the principal.
type Caller struct {
	Account vpc.AccountID
	// Principal is a role's or user's name; AccessKey the key that signed the call. Policies are attached to either.
	Principal, AccessKey string
	// Source says where the call came from, for example "node:i-0123456789abcdef0" or "operator". It names the caller
	// in the call log and in faults.
	Source string
}

// Zone is an availability zone: its name and its id.
type Zone struct {
	Name vpc.ZoneName
	ID   string
}

// Settings are what may change while the Sim runs. The zero value is a region without latency, lag or throttling.
type Settings struct {
	// Latency is how long calls take, by action; "*" is for actions without an entry of their own.
	Latency map[string]pacing.Distribution
	// Throttle turns the request buckets on. Buckets changes single ones; the rest are EC2's defaults.
	Throttle bool
	Buckets  map[string]pacing.Bucket

	// How long EC2's own transitions take.
	Attach, Detach    pacing.Distribution // attaching to attached; detaching to available
	AssociateBlock    pacing.Distribution // associating to associated, and back
	LaunchInstance    pacing.Distribution // pending to running
	TerminateInstance pacing.Distribution // shutting-down to terminated
	CreateNATGateway  pacing.Distribution // pending to available
	DescribeLag       pacing.Distribution // until describe actions show a change of an interface or subnet
	TagLag            pacing.Distribution // until describe actions show what CreateTags and DeleteTags changed
	FreeCountLag      pacing.Distribution // until AvailableIpAddressCount shows a change
	MetadataAdd       pacing.Distribution // until the metadata service shows an item, each on its own
	MetadataRemove    pacing.Distribution // until the metadata service stops showing an item
	Quarantine        time.Duration       // a freed address is not chosen again for so long
	Sequential        bool                // choose the lowest free address instead of a random one
	LaxBlocks         bool                // accept secondary blocks that the restriction table refuses
	Authorize         bool                // evaluate the policies attached with SetPolicies
	Quotas            Quotas
}

// Quotas are the account's limits; a zero stands for EC2's default.
type Quotas struct {
	BlocksPerVPC, SubnetsPerVPC, Interfaces, GroupsPerInterface, RulesPerGroup, Instances int
}
