package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube/apiserver"
)

// eniConfig is an ENIConfig object whose spec may be anything: its definition keeps unknown fields, and older ones check nothing.
type eniConfig struct {
	apiserver.Head
	Spec json.RawMessage `json:"spec"`
}

var (
	subnetID = regexp.MustCompile(`^subnet-[0-9a-z]+$`)
	groupID  = regexp.MustCompile(`^sg-[0-9a-z]+$`)
)

// watchENIConfig follows the one ENIConfig that the Node names, until the watch breaks or the Node names another one.
func (c *Client) watchENIConfig(ctx context.Context, a *apiserver.API) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	name := c.aim(cancel)
	if name == "" { // the Node is not known yet
		pause(ctx, pauseGreatest, nil)
		return nil
	}
	if !profile.Nameable(name) {
		c.setENIConfig(ENIConfig{Name: name, Why: fmt.Sprintf("no ENIConfig can have the name %q: it is no lower-case name of an object; label the node with another one: kubectl get eniconfigs lists them", name)})
		pause(ctx, missingFor, nil)
		return nil
	}
	f := apiserver.Feed[eniConfig]{
		Path: "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs", Selector: named(name), Seen: &c.seen.eniconfigs,
		List: func(found []eniConfig) {
			found = slices.DeleteFunc(found, func(e eniConfig) bool { return e.Metadata.Name != name })
			if len(found) == 0 {
				c.setENIConfig(missingENIConfig(name))
				return
			}
			c.setENIConfig(readENIConfig(found[0]))
		},
		Change: func(e eniConfig, gone bool) {
			switch {
			case e.Metadata.Name != name:
			case gone:
				c.setENIConfig(missingENIConfig(name))
			default:
				c.setENIConfig(readENIConfig(e))
			}
		},
	}
	err := f.Follow(ctx, a)
	if c.targetENIConfig() != name {
		return nil // it was cut off
	}
	return err
}

// aim remembers what ends the watch that begins now, and returns the name to watch.
func (c *Client) aim(cut func()) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aimed.name, _ = c.told.names(c.cfg)
	c.aimed.cut = cut
	return c.aimed.name
}

// targetENIConfig is the name that the Node names; empty while the Node is not known.
func (c *Client) targetENIConfig() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, _ := c.told.names(c.cfg)
	return name
}

// retargetENIConfig ends the watch of an ENIConfig that the Node does not name any more, or the pause before the next try.
func (c *Client) retargetENIConfig() {
	c.mu.Lock()
	if name, _ := c.told.names(c.cfg); c.aimed.cut != nil && c.aimed.name != name {
		c.aimed.cut()
	}
	c.mu.Unlock()
	signal(c.retarget)
}

func (c *Client) setENIConfig(e ENIConfig) {
	c.learn(func(k *known) {
		if name, from := k.names(c.cfg); name == e.Name {
			e.From = from
		}
		k.eniconfig, c.trouble[whatENIConfig] = e, ""
	})
}

// noENIConfigs takes that the cluster does not know the resource.
func (c *Client) noENIConfigs() {
	c.setENIConfig(ENIConfig{
		Name: c.targetENIConfig(), Why: "the cluster does not know the resource ENIConfig: kubectl apply -f deploy/chart/berth/crds/eniconfigs.yaml",
	})
}

func missingENIConfig(name string) ENIConfig {
	return ENIConfig{Name: name, Why: fmt.Sprintf("there is no ENIConfig %s; create it, or label the node with %s=<name of one>; kubectl get eniconfigs lists them", name, profile.ExternalLabel)}
}

// readENIConfig reads a spec. Security groups that make no sense count as none at all, subnet included: with those of the
// primary interface in their place pods would be open to what they were to be closed to.
func readENIConfig(o eniConfig) ENIConfig {
	e := ENIConfig{Name: o.Metadata.Name, Found: true}
	var spec struct {
		Subnet         string   `json:"subnet"`
		SecurityGroups []string `json:"securityGroups"`
	}
	err := json.Unmarshal(o.Spec, &spec)
	switch {
	case len(o.Spec) == 0 || err == nil && spec.Subnet == "":
		e.Why = "spec.subnet names no subnet"
	case err != nil:
		e.Why = fmt.Sprintf("spec cannot be read (%v)", err)
	case !subnetID.MatchString(spec.Subnet):
		e.Why = fmt.Sprintf("spec.subnet %q is no subnet's id", spec.Subnet)
	}
	for _, g := range spec.SecurityGroups {
		switch {
		case e.Why != "":
		case !groupID.MatchString(g):
			e.Why = fmt.Sprintf("%q in spec.securityGroups is no security group's id", g)
		case !slices.Contains(e.Groups, vpc.SecurityGroupID(g)):
			e.Groups = append(e.Groups, vpc.SecurityGroupID(g))
		}
	}
	if e.Why != "" {
		e.Groups, e.Why = nil, fmt.Sprintf("ENIConfig %s: %s", e.Name, e.Why)
		return e
	}
	e.Subnet = vpc.SubnetID(spec.Subnet)
	return e
}
