package interfaces

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/metadata"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// SyncMetadata tells an instance's metadata service what has changed; it shows that later.
func (s Actions) SyncMetadata(i *world.Instance) {
	set := &s.State.Settings
	i.View.Sync(s.State.Now, s.metadataOf(i), metadata.Delays{
		Add:    func() time.Duration { return s.After(set.MetadataAdd) },
		Remove: func() time.Duration { return s.After(set.MetadataRemove) },
	})
}

// SyncVPC follows a change of a VPC's blocks in the metadata of its instances.
func (s Actions) SyncVPC(id string) {
	for i := range s.State.Instances.All() {
		if i.VPC == id {
			s.SyncMetadata(i)
		}
	}
}

// SettleMetadata makes a new instance's metadata complete at once.
func (s Actions) SettleMetadata(i *world.Instance) {
	now := func() time.Duration { return 0 }
	i.View = metadata.View{}
	i.View.Sync(s.State.Now, s.metadataOf(i), metadata.Delays{Add: now, Remove: now})
}

// metadataOf lists the attached interfaces of an instance.
func (s Actions) metadataOf(i *world.Instance) []metadata.Interface {
	limits, _ := vpc.Limits(i.Type)
	var blocks, blocks6 []string
	if n, ok := s.State.VPCs.Get(i.VPC); ok {
		blocks = world.Collect(n.AssociatedBlocks(), netip.Prefix.String)
		for _, b := range n.Blocks6 {
			if b.State == world.Associated {
				blocks6 = append(blocks6, b.CIDR.String())
			}
		}
	}
	var out []metadata.Interface
	for _, id := range i.ENIs {
		e, ok := s.State.ENIs.Get(id)
		if !ok || e.Attachment == nil || e.Attachment.Status != string(vpc.Attached) {
			continue
		}
		n, _ := s.State.Subnets.Get(e.Subnet)
		m := metadata.Interface{
			MAC: e.MAC, ID: e.ID, Owner: e.Owner, Subnet: e.Subnet, VPC: e.VPC, Hostname: s.Hostname(e.Addresses[0]),
			Device: e.Attachment.Device, Card: e.Attachment.Card, Cards: len(limits.ENIsPerCard) > 1,
			GroupIDs: e.Groups, SubnetBlock: n.V4.CIDR().String(), VPCBlocks: blocks, VPCBlocks6: blocks6,
			Addresses: world.Collect(e.Addresses, netip.Addr.String), Prefixes: world.Collect(e.Prefixes, netip.Prefix.String),
			Addresses6: world.Collect(e.Addresses6, netip.Addr.String), Prefixes6: world.Collect(e.Prefixes6, netip.Prefix.String),
			Groups: world.Collect(s.GroupNames(e.Groups), func(g ec2.GroupIdentifier) string { return g.GroupName }),
		}
		if n.V6 != nil {
			m.SubnetBlocks6 = []string{n.V6.CIDR().String()}
		}
		for private, p := range e.Public {
			if m.Public == nil {
				m.Public = make(map[string]string)
			}
			m.Public[private.String()] = p.IP.String()
		}
		out = append(out, m)
	}
	return out
}
