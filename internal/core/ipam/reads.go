package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/pool"
)

// read asks for what is needed before anything else is decided.
func (p *planner) read() {
	if p.at.ENIs.IsZero() {
		p.do(pool.Action{Kind: pool.ReadENIs, Key: keyReadENIs, Why: pool.Starting})
		if !p.Restored() && p.zone.ReadAt().IsZero() { // tags decide whether the primary subnet may be used at all
			p.do(pool.Action{Kind: pool.ReadSubnets, Key: keyReadSubnets, Why: pool.Starting})
		}
		slow := !p.now.Before(p.at.Started.Add(ec2Slow))
		if p.Restored() && !p.Provisional() && (slow || p.tries.Failed(keyReadENIs)) {
			p.readMetadata(time.Second)
		}
	}
	for _, e := range p.ENIs() { // subnet blocks that nothing else told
		if e.Phase == pool.Attached && e.Managed && !e.IsPrimary() && !e.SubnetCIDR.IsValid() {
			p.readMetadata(time.Second)
		}
	}
}

// readMetadata asks for metadata when the last answer is as old as every; the first one can wait where EC2 is read.
func (p *planner) readMetadata(every time.Duration) {
	since := p.at.Metadata
	if since.IsZero() && p.Config.ReadEC2 && every >= metadataWaiting {
		since = p.at.Started
	}
	if since.IsZero() || p.now.Sub(since) >= every {
		p.do(pool.Action{Kind: pool.ReadMetadata, Key: keyReadMetadata, Why: pool.Resync})
	}
}

// metadataInterval is shorter while pods wait for addresses that somebody else has to assign.
func (p *planner) metadataInterval() time.Duration {
	if p.tally.Waiting > 0 && !p.Config.Provision {
		return metadataWaiting
	}
	return metadataEvery
}

// readVPC asks metadata for the VPC's blocks, at once when a subnet of it lies outside those known: what pods send there is
// translated until the block is known.
func (p *planner) readVPC() {
	every, why := vpcEvery, pool.Resync
	if p.zone.Outside(p.Instance.VPCCIDRs) {
		every, why = vpcUnknown, pool.BlockUnknown
	}
	if p.now.Sub(p.at.VPC) >= every || p.at.VPC.Before(p.zone.ReadAt()) && why == pool.BlockUnknown {
		p.do(pool.Action{Kind: pool.ReadVPC, Key: keyReadVPC, Why: why})
	}
}

// readSubnets reads the subnets again when growth waits for one, or when the last answer is old.
func (p *planner) readSubnets() {
	age, why := p.now.Sub(p.zone.ReadAt()), pool.PodsWaiting
	if p.tally.Waiting == 0 {
		why = pool.WarmTarget
	}
	switch {
	case p.zone.ReadAt().IsZero() && p.Restored() && p.needSubnets == 0 && p.now.Sub(p.at.Started) < firstQuiet:
		return
	case p.zone.ReadAt().IsZero():
		p.do(pool.Action{Kind: pool.ReadSubnets, Key: keyReadSubnets, Why: pool.Starting})
	case p.needSubnets > 0 && age >= p.needSubnets:
		p.do(pool.Action{Kind: pool.ReadSubnets, Key: keyReadSubnets, Why: why})
	case age >= subnetsIdle, p.Tight() && age >= subnetsTight+p.tries.Spread(subnetsTight/4):
		p.do(pool.Action{Kind: pool.ReadSubnets, Key: keyReadSubnets, Why: pool.Resync})
	}
}

func (p *planner) readENIs() {
	switch {
	case p.at.ENIs.IsZero():
		return
	case p.needRead != "":
		p.do(pool.Action{Kind: pool.ReadENIs, Key: keyReadENIs, Why: p.needRead})
	case p.at.Wanted.After(p.at.ENIs), p.undecided():
		p.do(pool.Action{Kind: pool.ReadENIs, Key: keyReadENIs, Why: pool.AfterDoubt})
	case p.now.Sub(p.at.ENIs) >= resyncEvery:
		p.do(pool.Action{Kind: pool.ReadENIs, Key: keyReadENIs, Why: pool.Resync})
	}
}

// undecided tells whether what is in doubt waits for a read that is late enough to decide.
func (p *planner) undecided() bool {
	due := false
	p.decided(func(at time.Time) { due = due || p.at.ENIs.Before(at) && !p.now.Before(at) })
	return due
}

// decided calls f with each time from which a read decides about something in doubt.
func (p *planner) decided(f func(time.Time)) {
	f(p.DoubtUntil())
	for _, e := range p.ENIs() {
		if !e.MissingSince.IsZero() {
			f(e.MissingSince.Add(ledger.MissingFor))
		}
		for _, b := range e.Blocks {
			if b.Doubt == ledger.NotListed {
				f(b.DecidedAt())
			}
		}
	}
}
