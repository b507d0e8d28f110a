// Package cniresult translates between what the agent knows of an attachment and the result of the CNI specification, in
// every version of it.
//
// A result has the shape that plugins of the Amazon VPC CNI write and read, so that either can delete what the other added:
// the host's veth; the container's interface with its route table in place of a MAC; and an interface that does not exist,
// whose MAC is the VLAN (0: none) and whose sandbox is the device index.
package cniresult

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/berth-net/berth/internal/agentapi"
)

const (
	dummyPrefix = "dummy"
	noVLAN      = "0"
	// hashLength is the length of the hash at the end of the host veth's and the dummy's name.
	hashLength = 11
	// containerIndex is the place of the container's interface in the result.
	containerIndex = 1
)

// Encode returns the result of an ADD in the version that the runtime asked for.
func Encode(req agentapi.Request, added agentapi.Added) (json.RawMessage, error) {
	r, err := newResult(req, added).GetAsVersion(req.CNIVersion)
	if err != nil {
		return nil, agentapi.Errorf(agentapi.CodeConfig, "result of ADD in version %q of the specification: %v", req.CNIVersion, err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result of ADD: %w", err)
	}
	return data, nil
}

func newResult(req agentapi.Request, added agentapi.Added) *types100.Result {
	hash := added.HostVeth[max(0, len(added.HostVeth)-hashLength):]
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: added.HostVeth},
			{Name: req.Attachment.IfName, Sandbox: req.Netns, Mac: strconv.Itoa(added.Table), Mtu: added.MTU},
			{Name: dummyPrefix + hash, Mac: noVLAN, Sandbox: strconv.Itoa(added.Device)},
		},
	}
	for _, a := range added.Addrs {
		bits := a.BitLen()
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: new(containerIndex),
			Address:   net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		})
	}
	return r
}

// Parse reads a prevResult of a version back. What it does not find stays empty: chained plugins may have changed it, and
// older versions wrote less.
func Parse(cniVersion, ifName string, prevResult []byte) (agentapi.Added, error) {
	if len(prevResult) == 0 || string(prevResult) == "null" {
		return agentapi.Added{}, agentapi.Errorf(agentapi.CodeConfig, "the configuration has no prevResult")
	}
	var raw map[string]any
	if err := json.Unmarshal(prevResult, &raw); err != nil {
		return agentapi.Added{}, badResult(err)
	}
	pc := types.PluginConf{CNIVersion: cniVersion, RawPrevResult: raw}
	if err := version.ParsePrevResult(&pc); err != nil {
		return agentapi.Added{}, badResult(err)
	}
	r, err := types100.GetResult(pc.PrevResult)
	if err != nil {
		return agentapi.Added{}, badResult(err)
	}
	return fromResult(r, ifName)
}

func badResult(err error) error {
	return agentapi.Errorf(agentapi.CodeDecode, "prevResult is not understood: %v", err)
}

func fromResult(r *types100.Result, ifName string) (agentapi.Added, error) {
	var added agentapi.Added
	container := -1
	for i, iface := range r.Interfaces {
		switch {
		case iface == nil:
			return agentapi.Added{}, badResult(errors.New("an interface is null"))
		case strings.HasPrefix(iface.Name, dummyPrefix) && len(iface.Name) == len(dummyPrefix)+hashLength:
			added.Device, _ = strconv.Atoi(iface.Sandbox)
		case iface.Sandbox == "" && added.HostVeth == "":
			added.HostVeth = iface.Name
		case iface.Name == ifName && container < 0:
			container = i
			added.Table, _ = strconv.Atoi(iface.Mac) // another version may have a real MAC here
			added.MTU = iface.Mtu
		}
	}
	for _, ip := range r.IPs {
		if ip == nil {
			return agentapi.Added{}, badResult(errors.New("an address is null"))
		}
		if ip.Interface != nil && *ip.Interface != container {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			added.Addrs = append(added.Addrs, a.Unmap())
		}
	}
	return added, nil
}
