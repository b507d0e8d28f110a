package rig

import (
	"bytes"
	"net/netip"
	"os/exec"
	"path/filepath"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/awscni"
)

// Existing is the instance as a node of the Amazon VPC CNI, with its checkpoint where the agent looks for it.
func (r *Rig) Existing(b awscni.Backend, blocks ...netip.Prefix) *awscni.Node {
	r.TB.Helper()
	return &awscni.Node{
		TB: r.TB, NetNS: r.Fabric.Namespace(r.Instance), File: filepath.Join(r.State(), "ipam.json"), Backend: b, Blocks: blocks,
		Interfaces: r.existingInterfaces,
	}
}

// existingInterfaces are the instance's interfaces as EC2 lists them.
func (r *Rig) existingInterfaces() []awscni.Interface {
	var list []awscni.Interface
	subnets := map[string]netip.Prefix{}
	for _, s := range r.Sim.Topology().Subnets {
		subnets[string(s.ID)] = s.CIDR
	}
	for _, e := range r.Interfaces() {
		if e.Attachment == nil || e.Attachment.InstanceId != string(r.Instance) {
			continue
		}
		i := awscni.Interface{MAC: e.MacAddress, Device: e.Attachment.DeviceIndex, Addr: netip.MustParseAddr(e.PrivateIpAddress), Subnet: subnets[e.SubnetId]}
		for _, a := range e.PrivateIpAddresses {
			if !a.Primary {
				i.Pods = append(i.Pods, netip.MustParseAddr(a.PrivateIpAddress))
			}
		}
		list = append(list, i)
	}
	return list
}

// InstanceID tags what the Amazon VPC CNI creates on the instance.
func (r *Rig) InstanceID() string { return string(r.Instance) }

// Leave runs `berth-agent leave` on the instance and returns what it prints.
func (r *Rig) Leave(args ...string) (string, error) {
	var out bytes.Buffer
	err := testkit.TryInNetns(r.Fabric.Namespace(r.Instance), func() error {
		cmd := exec.Command(filepath.Join(r.Bin, "berth-agent"), append([]string{"leave"}, args...)...)
		cmd.Env, cmd.Stdout, cmd.Stderr = r.environment(), &out, &out
		return cmd.Run()
	})
	return out.String(), err
}
