package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
)

// Version is the only version of the format that there is.
const Version = "vpc-cni-ipam/1"

// Entry is an address that the file gives to a pod.
type Entry struct {
	Key       pool.Key
	Namespace string
	Name      string
	Addr      netip.Addr
	At        time.Time
}

// document is the file. Names of members are the Amazon VPC CNI's.
type document struct {
	Version     string       `json:"version"`
	Allocations []allocation `json:"allocations"`
}

type allocation struct {
	Network   string     `json:"networkName"`
	Container string     `json:"containerID"`
	IfName    string     `json:"ifName"`
	IPv4      netip.Addr `json:"ipv4,omitzero"`
	IPv6      netip.Addr `json:"ipv6,omitzero"`
	Timestamp int64      `json:"allocationTimestamp"` // ns since 1970
	Metadata  metadata   `json:"metadata"`
}

type metadata struct {
	Namespace string `json:"k8sPodNamespace,omitempty"`
	Name      string `json:"k8sPodName,omitempty"`
	// Interfaces is how many interfaces the pod has: above 1 only with ENABLE_MULTI_NIC, in a file per network card.
	Interfaces int `json:"interfacesCount,omitempty"`
}

// Decode reads the file's bytes. Its error is one line that says what is wrong; then nothing of the file is believed.
func Decode(data []byte) ([]Entry, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("it is not a checkpoint: %w", err)
	}
	if d.Version != Version {
		return nil, fmt.Errorf("its version is %q, only %q is known", d.Version, Version)
	}
	entries := make([]Entry, 0, len(d.Allocations))
	for _, a := range d.Allocations {
		addr := a.IPv4
		if !addr.IsValid() {
			addr = a.IPv6
		}
		entries = append(entries, Entry{
			Key:       pool.Key{Network: a.Network, ContainerID: a.Container, IfName: a.IfName},
			Namespace: a.Metadata.Namespace, Name: a.Metadata.Name, Addr: addr.Unmap(), At: time.Unix(0, a.Timestamp),
		})
	}
	return entries, nil
}

// Encode returns the bytes of a file with these pods, in their order.
func Encode(pods []pool.Allocation) ([]byte, error) {
	d := document{Version: Version, Allocations: make([]allocation, 0, len(pods))}
	for _, p := range pods {
		a := allocation{
			Network: p.Pod.Key.Network, Container: p.Pod.Key.ContainerID, IfName: p.Pod.Key.IfName, Timestamp: p.At.UnixNano(),
			Metadata: metadata{Namespace: p.Pod.Namespace, Name: p.Pod.Name, Interfaces: 1},
		}
		if p.Addr.Is4() {
			a.IPv4 = p.Addr
		} else {
			a.IPv6 = p.Addr
		}
		d.Allocations = append(d.Allocations, a)
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(d); err != nil {
		return nil, fmt.Errorf("encode checkpoint of %d pods: %w", len(pods), err)
	}
	return b.Bytes(), nil
}
