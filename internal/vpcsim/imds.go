package vpcsim

import (
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/instances"
	"github.com/berth-net/berth/internal/vpcsim/metadata"
	"github.com/berth-net/berth/internal/vpcsim/world"
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
	i, ok := s.acts.State.Instances.Get(string(id))
	if !ok || i.State == world.Terminated || len(i.ENIs) == 0 {
		return Metadata{}, false
	}
	m := Metadata{
		Options: i.Options, Role: i.Profile, Account: vpc.AccountID(i.Owner), Region: s.acts.State.Region, Zone: vpc.ZoneName(i.Zone),
		Instance: id, InstanceType: i.Type, Image: i.Image, Architecture: instances.Architecture(i.Type), PendingTime: i.Launched,
	}
	about := metadata.Instance{
		ID: i.ID, Type: i.Type, Image: i.Image, LaunchIndex: i.Index, Reservation: i.Reservation,
		Zone: i.Zone, ZoneID: s.acts.ZoneID(i.Zone), Region: s.acts.State.Region,
	}
	if e, ok := s.acts.State.ENIs.Get(i.ENIs[0]); ok {
		primary := e.Addresses[0]
		about.IPv4, about.MAC, about.Hostname = primary.String(), e.MAC, s.acts.Hostname(primary)
		if p, ok := e.Public[primary]; ok {
			about.PublicIPv4 = p.IP.String()
		}
		for _, g := range s.acts.GroupNames(e.Groups) {
			about.Groups = append(about.Groups, g.GroupName)
		}
		m.PrivateIP = about.IPv4
	}
	if i.Options.InstanceMetadataTags == "enabled" {
		about.Tags = s.acts.State.Tags[i.Owner][i.ID]
	}
	m.Values = i.View.Tree(about, s.acts.State.Now)
	return m, true
}
