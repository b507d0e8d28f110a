package hostnet

import (
	"crypto/sha1" //nolint:gosec // a name that running nodes already use, not a secret
	"encoding/hex"
	"net/netip"
)

// Route tables and rule priorities. The numbers are those of the existing CNI, so that a node may change from one to the
// other while its pods run.
const (
	TableMain = 254

	PriorityToPod           = 512   // to a pod: main
	PriorityMark            = 1024  // packets with our bit: main
	PriorityExternalService = 1535  // to an external service CIDR: main
	PriorityFromPod         = 1536  // from a pod of a secondary interface: its table
	PriorityFromENI         = 32765 // from a secondary interface's own address: its table
)

// TableNumber is the route table of an interface: main for device 0 of card 0, the device index plus one for the others of
// card 0, and 10000 + 100 × card + device for those of further cards.
func TableNumber(deviceIndex, networkCard int) int {
	switch {
	case networkCard > 0:
		return 10000 + 100*networkCard + deviceIndex
	case deviceIndex > 0:
		return deviceIndex + 1
	default:
		return TableMain
	}
}

// isENITable tells whether TableNumber could have given the number.
func isENITable(table int) bool {
	return table >= 2 && table <= 64 || table >= 10100 && table < 20000
}

// VethName is the name of the host's end of a pod's link: prefix and eleven hexadecimal digits, 15 bytes at most.
func VethName(prefix, namespace, pod string) string {
	sum := sha1.Sum([]byte(namespace + "." + pod)) //nolint:gosec // see the import
	return prefix + hex.EncodeToString(sum[:])[:11]
}

// PodMAC and HostMAC are the hardware addresses of the two ends of an attachment's link. They come from the attachment, so
// wiring twice gives the same, and they are set explicitly, so that no udev policy changes them later.
func PodMAC(key PodKey) [6]byte { return mac(key, "pod") }

// HostMAC is the hardware address of the host's end; see PodMAC.
func HostMAC(key PodKey) [6]byte { return mac(key, "host") }

func mac(key PodKey, end string) [6]byte {
	//nolint:gosec // spreads identifiers, protects nothing
	sum := sha1.Sum([]byte(key.Network + "/" + key.ContainerID + "/" + key.IfName + "/" + end))
	m := [6]byte(sum[:6])
	m[0] = m[0]&^1 | 2 // unicast, locally administered
	return m
}

// Alias is the text that marks the host's end of an attachment's link (ip link's alias). It tells two sandboxes of one pod
// name apart.
func Alias(key PodKey) string { return key.ContainerID + "/" + key.IfName }

// PodGateway is the address that a pod's default route points at; a permanent neighbour entry answers for it.
func PodGateway() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// Gateway is the VPC router's address in a subnet: the first after the network's own.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// PodMTUOf is the MTU of a pod's link: PodMTU, or ENIMTU when that is not set.
func (s Settings) PodMTUOf() int {
	if s.PodMTU > 0 {
		return s.PodMTU
	}
	return s.ENIMTU
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
