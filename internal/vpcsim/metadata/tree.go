package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Instance is what the service knows of an instance apart from its interfaces.
type Instance struct {
	ID, Type, Image, Hostname, IPv4, MAC, PublicIPv4, Profile string
	Zone, ZoneID, Region                                      string
	LaunchIndex                                               int
	Reservation                                               string
	Groups                                                    []string
	Tags                                                      map[string]string // empty unless the instance's options show tags
}

// Tree gives the paths below /latest/meta-data/ with their text. A path that ends in "/" is a directory that is listed
// with nothing in it yet. What IAM shows (iam/…) is left to whoever serves the tree.
func (v *View) Tree(i Instance, now time.Time) map[string]string {
	t := map[string]string{
		"ami-id": i.Image, "ami-launch-index": strconv.Itoa(i.LaunchIndex), "instance-id": i.ID, "instance-type": i.Type,
		"instance-life-cycle": "on-demand", "hostname": i.Hostname, "local-hostname": i.Hostname,
		"local-ipv4": i.IPv4, "public-ipv4": i.PublicIPv4, "mac": i.MAC, "profile": "default-hvm",
		"reservation-id": i.Reservation, "security-groups": lines(i.Groups),
		"placement/availability-zone": i.Zone, "placement/availability-zone-id": i.ZoneID, "placement/region": i.Region,
		"services/domain": "amazonaws.com", "services/partition": "aws",
	}
	for k, value := range i.Tags {
		t["tags/instance/"+k] = value
	}
	for _, s := range v.Shown {
		if s.Listed.at(now) {
			s.tree(t, now)
		}
	}
	// An absent value answers 404, so it is not in the tree.
	maps.DeleteFunc(t, func(path, text string) bool {
		return text == "" && !strings.HasSuffix(path, "/") && !strings.HasPrefix(path, "tags/")
	})
	return t
}

func (s *Shown) tree(t map[string]string, now time.Time) {
	dir := "network/interfaces/macs/" + s.MAC + "/"
	if !s.Keys.at(now) {
		t[dir] = ""
		return
	}
	addresses := s.visible(listAddresses, now)
	t[dir+"device-number"] = strconv.Itoa(s.Device)
	if s.Cards {
		t[dir+"network-card"] = strconv.Itoa(s.Card)
	}
	t[dir+"interface-id"] = s.ID
	t[dir+"mac"] = s.MAC
	t[dir+"owner-id"] = s.Owner
	t[dir+"subnet-id"] = s.Subnet
	t[dir+"vpc-id"] = s.VPC
	t[dir+"local-hostname"] = s.Hostname
	t[dir+"security-groups"] = lines(s.Groups)
	t[dir+"security-group-ids"] = lines(s.GroupIDs)
	t[dir+listAddresses] = lines(addresses)
	t[dir+listPrefixes] = lines(s.visible(listPrefixes, now))
	t[dir+listAddresses6] = lines(s.visible(listAddresses6, now))
	t[dir+listPrefixes6] = lines(s.visible(listPrefixes6, now))
	t[dir+"subnet-ipv4-cidr-block"] = s.SubnetBlock
	t[dir+"subnet-ipv6-cidr-blocks"] = lines(s.SubnetBlocks6)
	if len(s.VPCBlocks) > 0 {
		t[dir+"vpc-ipv4-cidr-block"] = s.VPCBlocks[0]
	}
	t[dir+"vpc-ipv4-cidr-blocks"] = lines(s.VPCBlocks)
	t[dir+"vpc-ipv6-cidr-blocks"] = lines(s.VPCBlocks6)
	var public []string
	for _, private := range slices.Sorted(maps.Keys(s.Public)) {
		public = append(public, s.Public[private])
		t[fmt.Sprintf("%sipv4-associations/%s", dir, s.Public[private])] = private
	}
	t[dir+"public-ipv4s"] = lines(public)
}

func lines(values []string) string { return strings.Join(values, "\n") }
