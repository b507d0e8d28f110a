package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Config is what the lab reads of an eksctl ClusterConfig.
type Config struct {
	Name       string
	Region     string
	Version    string // as asked for; the lab runs one version whatever stands here
	Tags       map[string]string
	CIDR       netip.Prefix
	NAT        NAT
	Zones      []vpc.ZoneName
	Addons     []Addon
	NodeGroups []NodeGroup
}

// NAT says which NAT gateways the private subnets get.
type NAT string

// The choices of vpc.nat.gateway.
const (
	NATSingle  NAT = "Single"
	NATPerZone NAT = "HighlyAvailable"
	NATNone    NAT = "Disable"
)

// Addon is an add-on to install.
type Addon struct {
	Name                string
	Version             string
	ConfigurationValues string
	ResolveConflicts    string
}

// NodeGroup is a group of equal nodes.
type NodeGroup struct {
	Name         string
	InstanceType string
	Private      bool
	Min, Desired int
	Max          int
	Zones        []vpc.ZoneName // all of the cluster's when empty
	Labels       map[string]string
	Tags         map[string]string
	MaxPods      int // by the instance type when zero
}

const apiVersion = "eksctl.io/v1alpha5"

var clusterName = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9-]{0,99}$`)

// Parse reads a ClusterConfig. The warnings name what it goes on without; the error names every field that is wrong.
func Parse(data []byte) (config Config, warnings []string, err error) {
	var raw any
	if err := yaml.UnmarshalStrict(data, &raw); err != nil {
		return Config{}, nil, fmt.Errorf("read cluster config: %w", err)
	}
	r := &reading{}
	root := r.asObject("", raw)
	if raw == nil {
		return Config{}, nil, errors.New("read cluster config: it is empty")
	}
	if v := root.text("apiVersion", ""); v != apiVersion {
		r.wrong("apiVersion", "want %s, got %q", apiVersion, v)
	}
	if v := root.text("kind", ""); v != "ClusterConfig" {
		r.wrong("kind", "want ClusterConfig, got %q", v)
	}
	config.metadata(root.object("metadata"))
	config.vpc(root.object("vpc"))
	config.zones(root)
	for i, v := range root.list("addons") {
		config.Addons = append(config.Addons, addon(r.asObject(fmt.Sprintf("addons[%d]", i), v)))
	}
	for _, key := range []string{"managedNodeGroups", "nodeGroups"} {
		for i, v := range root.list(key) {
			config.nodeGroup(r.asObject(fmt.Sprintf("%s[%d]", key, i), v))
		}
	}
	if services := root.object("kubernetesNetworkConfig").text("serviceIPv4CIDR", serviceCIDR); services != serviceCIDR {
		r.wrong("kubernetesNetworkConfig.serviceIPv4CIDR", "the lab's service range is %s, got %q", serviceCIDR, services)
	}
	root.rest()
	if len(r.errors) > 0 {
		return Config{}, r.warnings, fmt.Errorf("read cluster config: %s", strings.Join(r.errors, "; "))
	}
	return config, r.warnings, nil
}

func (c *Config) metadata(o *object) {
	c.Name = o.text("name", "")
	if !clusterName.MatchString(c.Name) {
		o.wrong(o.at("name"), "want up to 100 letters, digits and hyphens, the first no hyphen, got %q", c.Name)
	}
	c.Region = o.text("region", "us-west-2")
	if len(strings.Split(c.Region, "-")) < 3 {
		o.wrong(o.at("region"), "want a region such as us-west-2, got %q", c.Region)
	}
	c.Version = o.text("version", "")
	c.Tags = o.textMap("tags")
	o.rest()
}

func (c *Config) vpc(o *object) {
	text := o.text("cidr", "192.168.0.0/16")
	var err error
	if c.CIDR, err = netip.ParsePrefix(text); err != nil || !c.CIDR.Addr().Is4() {
		o.wrong(o.at("cidr"), "want an IPv4 block such as 10.0.0.0/16, got %q", text)
	} else if c.CIDR.Bits() < 16 || c.CIDR.Bits() > 24 {
		o.wrong(o.at("cidr"), "want a block from /16 to /24, got %s: it is cut into eight parts", c.CIDR)
	}
	c.CIDR = c.CIDR.Masked()
	nat := o.object("nat")
	c.NAT = NAT(nat.text("gateway", string(NATSingle)))
	if !slices.Contains([]NAT{NATSingle, NATPerZone, NATNone}, c.NAT) {
		o.wrong(nat.at("gateway"), "want Single, HighlyAvailable or Disable, got %q", c.NAT)
	}
	nat.rest()
	if o.value("id") != nil || o.value("subnets") != nil {
		o.wrong(o.path, "the lab makes a VPC of its own: leave out id and subnets")
	}
	o.rest()
}

func (c *Config) zones(root *object) {
	for _, zone := range root.texts("availabilityZones") {
		c.Zones = append(c.Zones, vpc.ZoneName(zone))
		if !strings.HasPrefix(zone, c.Region) || len(zone) != len(c.Region)+1 {
			root.wrong("availabilityZones", "want zones of %s such as %sa, got %q", c.Region, c.Region, zone)
		}
	}
	if len(c.Zones) == 0 {
		for _, letter := range []string{"a", "b", "c"} {
			c.Zones = append(c.Zones, vpc.ZoneName(c.Region+letter))
		}
	}
	if len(c.Zones) < 2 || len(c.Zones) > 4 {
		root.wrong("availabilityZones", "want two to four zones, got %d", len(c.Zones))
	}
}

func addon(o *object) Addon {
	a := Addon{
		Name: o.text("name", ""), Version: o.text("version", ""),
		ConfigurationValues: o.text("configurationValues", ""),
		ResolveConflicts:    strings.ToUpper(o.text("resolveConflicts", "")),
	}
	if a.Name == "" {
		o.wrong(o.at("name"), "is missing")
	}
	for _, ignored := range []string{"attachPolicyARNs", "serviceAccountRoleARN", "wellKnownPolicies", "useDefaultPodIdentityAssociations"} {
		if o.value(ignored) != nil {
			o.warnings = append(o.warnings, o.at(ignored)+": the lab's nodes give their role to every pod, so this changes nothing")
		}
	}
	o.rest()
	return a
}

func (c *Config) nodeGroup(o *object) {
	g := NodeGroup{
		Name:         o.text("name", ""),
		InstanceType: o.text("instanceType", "m5.large"),
		Private:      o.truth("privateNetworking", false),
		Labels:       o.textMap("labels"),
		Tags:         o.textMap("tags"),
		MaxPods:      o.number("maxPodsPerNode", 0),
	}
	smallest := o.number("minSize", -1)
	g.Desired = o.number("desiredCapacity", max(smallest, 0))
	if smallest < 0 && o.fields["desiredCapacity"] == nil {
		g.Desired = 2 // eksctl's default
	}
	g.Min = smallest
	if g.Min < 0 {
		g.Min = g.Desired
	}
	g.Max = o.number("maxSize", max(g.Desired, g.Min))
	for _, zone := range o.texts("availabilityZones") {
		g.Zones = append(g.Zones, vpc.ZoneName(zone))
	}
	c.check(o, g)
	o.rest()
	c.NodeGroups = append(c.NodeGroups, g)
}

// maxNodes is what one machine can be expected to hold.
const maxNodes = 12

func (c *Config) check(o *object, g NodeGroup) {
	if g.Name == "" {
		o.wrong(o.at("name"), "is missing")
	}
	for _, other := range c.NodeGroups {
		if other.Name == g.Name {
			o.wrong(o.at("name"), "%q is taken by another node group", g.Name)
		}
	}
	if _, known := vpc.Limits(g.InstanceType); !known {
		o.wrong(o.at("instanceType"), "no instance type that the lab knows the limits of: %q", g.InstanceType)
	}
	switch {
	case g.Min < 0 || g.Max < 0 || g.Desired < 0:
		o.wrong(o.path, "minSize, desiredCapacity and maxSize must not be negative")
	case g.Min > g.Desired || g.Desired > g.Max:
		o.wrong(o.at("desiredCapacity"), "want minSize <= desiredCapacity <= maxSize, got %d <= %d <= %d", g.Min, g.Desired, g.Max)
	case g.Desired > maxNodes:
		o.wrong(o.at("desiredCapacity"), "one machine holds up to %d nodes, got %d", maxNodes, g.Desired)
	}
	if g.MaxPods < 0 || g.MaxPods > 250 {
		o.wrong(o.at("maxPodsPerNode"), "want 1 to 250, got %d", g.MaxPods)
	}
	for _, zone := range g.Zones {
		if !slices.Contains(c.Zones, zone) {
			o.wrong(o.at("availabilityZones"), "%q is none of the cluster's zones", zone)
		}
	}
}
