package simcloud

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/vpcsim"
)

// Metadata is the metadata service of one instance.
type Metadata struct {
	Sim *vpcsim.Sim
	ID  vpc.InstanceID
}

var _ node.Metadata = Metadata{}

var errNoMetadata = errors.New("no metadata")

func (m Metadata) tree() (map[string]string, vpcsim.Metadata, error) {
	md, ok := m.Sim.Metadata(m.ID)
	if !ok {
		return nil, md, errNoMetadata
	}
	return md.Values, md, nil
}

// Instance implements node.Metadata.
func (m Metadata) Instance(context.Context) (vpc.Instance, error) {
	t, md, err := m.tree()
	if err != nil {
		return vpc.Instance{}, err
	}
	at := macs + t["mac"] + "/"
	inst := vpc.Instance{
		ID: m.ID, Type: md.InstanceType, Region: md.Region, Zone: md.Zone, VPC: vpc.ID(t[at+"vpc-id"]), Subnet: vpc.SubnetID(t[at+"subnet-id"]),
		PrimaryENI: vpc.ENIID(t[at+"interface-id"]), PrimaryMAC: t["mac"], Groups: groups(t[at+"security-group-ids"]), VPCCIDRs: prefixes(t[at+"vpc-ipv4-cidr-blocks"]),
	}
	inst.PrimaryIP, err = netip.ParseAddr(t["local-ipv4"])
	return inst, err
}

const macs = "network/interfaces/macs/"

// ENIs implements node.Metadata.
func (m Metadata) ENIs(context.Context) ([]vpc.MetadataENI, error) {
	t, _, err := m.tree()
	if err != nil {
		return nil, err
	}
	var list []vpc.MetadataENI
	for path, id := range t {
		mac, ok := strings.CutSuffix(path, "/interface-id")
		if !ok {
			continue
		}
		device, err := strconv.Atoi(t[mac+"/device-number"])
		if err != nil {
			continue // only partly there
		}
		e := vpc.MetadataENI{ID: vpc.ENIID(id), MAC: strings.TrimPrefix(mac, macs), DeviceIndex: device, Subnet: vpc.SubnetID(t[mac+"/subnet-id"])}
		if e.SubnetCIDR, err = netip.ParsePrefix(t[mac+"/subnet-ipv4-cidr-block"]); err != nil {
			continue
		}
		for a := range strings.FieldsSeq(t[mac+"/local-ipv4s"]) {
			e.Addresses = append(e.Addresses, netip.MustParseAddr(a))
		}
		e.Prefixes = prefixes(t[mac+"/ipv4-prefix"])
		list = append(list, e)
	}
	return list, nil
}

// Refresh implements node.Metadata.
func (m Metadata) Refresh(_ context.Context, mac string) ([]netip.Prefix, []vpc.SecurityGroupID, error) {
	t, _, err := m.tree()
	if err != nil {
		return nil, nil, err
	}
	return prefixes(t[macs+mac+"/vpc-ipv4-cidr-blocks"]), groups(t[macs+mac+"/security-group-ids"]), nil
}

func prefixes(s string) []netip.Prefix {
	var list []netip.Prefix
	for p := range strings.FieldsSeq(s) {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func groups(s string) []vpc.SecurityGroupID {
	var list []vpc.SecurityGroupID
	for g := range strings.FieldsSeq(s) {
		list = append(list, vpc.SecurityGroupID(g))
	}
	return list
}
