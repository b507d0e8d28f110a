package vpcsim

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/metadata"
)

// Metadata is an instance's metadata at a moment.
type Metadata struct {
	// Options are the instance's settings of the service: endpoint, tokens, hop limit, tags.
	Options ec2.InstanceMetadataOptions
	// Values maps paths below /latest/meta-data/ to their text, for example "placement/region". A path that ends in "/"
	// is a directory that is listed although nothing is in it yet. Paths that are absent answer 404.
	Values map[string]string
	// Role is the name of the instance's role, or empty. Whoever serves the metadata makes the credentials.
	Role string
	// For the instance identity document.
	Account             vpc.AccountID
	Region              string
	Zone                vpc.ZoneName
	Instance            vpc.InstanceID
	InstanceType, Image string
	PrivateIP           string
	Architecture        string
	PendingTime         time.Time
}

// Metadata is what the metadata service of an instance shows now, or false when there is no such instance.
func (s *Sim) Metadata(id vpc.InstanceID) (Metadata, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	i, ok := s.st.Instances.get(string(id))
	if !ok || i.State == terminated {
		return Metadata{}, false
	}
	m := Metadata{
		Options: i.Options, Role: i.Profile, Account: vpc.AccountID(i.Owner), Region: s.st.Region, Zone: vpc.ZoneName(i.Zone),
		Instance: id, InstanceType: i.Type, Image: i.Image, Architecture: architecture(i.Type), PendingTime: i.Launched,
	}
	about := metadata.Instance{
		ID: i.ID, Type: i.Type, Image: i.Image, LaunchIndex: i.Index, Reservation: i.Reservation,
		Zone: i.Zone, ZoneID: s.zoneID(i.Zone), Region: s.st.Region,
	}
	if e, ok := s.st.ENIs.get(i.ENIs[0]); ok {
		primary := e.Addresses[0]
		about.IPv4, about.MAC, about.Hostname = primary.String(), e.MAC, s.hostname(primary)
		if p, ok := e.Public[primary]; ok {
			about.PublicIPv4 = p.IP.String()
		}
		for _, g := range s.groupNames(e.Groups) {
			about.Groups = append(about.Groups, g.GroupName)
		}
		m.PrivateIP = about.IPv4
	}
	if i.Options.InstanceMetadataTags == "enabled" {
		about.Tags = s.st.Tags[i.Owner][i.ID]
	}
	m.Values = i.View.Tree(about, s.st.Now)
	return m, true
}

// syncMetadata tells an instance's metadata service what has changed; it shows that later.
func (s *Sim) syncMetadata(i *instance) {
	set := &s.st.Settings
	i.View.Sync(s.st.Now, s.metadataOf(i), metadata.Delays{
		Add:    func() time.Duration { return s.after(set.MetadataAdd) },
		Remove: func() time.Duration { return s.after(set.MetadataRemove) },
	})
}

// settleMetadata makes a new instance's metadata complete at once.
func (s *Sim) settleMetadata(i *instance) {
	now := func() time.Duration { return 0 }
	i.View = metadata.View{}
	i.View.Sync(s.st.Now, s.metadataOf(i), metadata.Delays{Add: now, Remove: now})
}

// metadataOf lists the attached interfaces of an instance.
func (s *Sim) metadataOf(i *instance) []metadata.Interface {
	limits, _ := vpc.Limits(i.Type)
	var blocks, blocks6 []string
	if n, ok := s.st.VPCs.get(i.VPC); ok {
		blocks = collect(n.blocks(), netip.Prefix.String)
		for _, b := range n.Blocks6 {
			if b.State == associated {
				blocks6 = append(blocks6, b.CIDR.String())
			}
		}
	}
	var out []metadata.Interface
	for _, id := range i.ENIs {
		e, ok := s.st.ENIs.get(id)
		if !ok || e.Attachment == nil || e.Attachment.Status != string(vpc.Attached) {
			continue
		}
		n, _ := s.st.Subnets.get(e.Subnet)
		m := metadata.Interface{
			MAC: e.MAC, ID: e.ID, Owner: e.Owner, Subnet: e.Subnet, VPC: e.VPC, Hostname: s.hostname(e.Addresses[0]),
			Device: e.Attachment.Device, Card: e.Attachment.Card, Cards: len(limits.ENIsPerCard) > 1,
			GroupIDs: e.Groups, SubnetBlock: n.V4.CIDR().String(), VPCBlocks: blocks, VPCBlocks6: blocks6,
			Addresses: collect(e.Addresses, netip.Addr.String), Prefixes: collect(e.Prefixes, netip.Prefix.String),
			Addresses6: collect(e.Addresses6, netip.Addr.String), Prefixes6: collect(e.Prefixes6, netip.Prefix.String),
			Groups: collect(s.groupNames(e.Groups), func(g ec2.GroupIdentifier) string { return g.GroupName }),
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
