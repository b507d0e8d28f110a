package fabric

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// Drops counts the packets that an attached interface has lost, by reason. A re-attached interface starts at zero.
type Drops struct {
	AntiSpoof    uint64 // from the instance, with a source that is not assigned to the interface
	GroupEgress  uint64 // from the instance, allowed by none of its groups
	GroupIngress uint64 // to the instance, allowed by none of its groups
	NoRoute      uint64 // from the instance, to where its subnet has no route or no interface has the address
}

// Drops reads an interface's counters.
func (f *Fabric) Drops(ctx context.Context, eni vpc.ENIID) (Drops, error) {
	_, ns, err := f.find(eni)
	if err != nil {
		return Drops{}, fmt.Errorf("read drops of %s: %w", eni, err)
	}
	defer ns.Close()
	out, err := runNFT(ctx, f.nft, ns, "", "-j", "list", "counters", "table", "inet", "fabric")
	if err != nil {
		return Drops{}, fmt.Errorf("read drops of %s: %w", eni, err)
	}
	var listing struct {
		Objects []struct {
			Counter struct {
				Name    string `json:"name"`
				Packets uint64 `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return Drops{}, fmt.Errorf("read drops of %s: %w", eni, err)
	}
	count := map[string]uint64{}
	for _, o := range listing.Objects {
		count[o.Counter.Name] = o.Counter.Packets
	}
	n := plan.CounterNames(eni)
	return Drops{AntiSpoof: count[n[0]], GroupEgress: count[n[1]], GroupIngress: count[n[2]], NoRoute: count[n[3]]}, nil
}

// find returns the index of an attached interface's far end and a handle of its own on the namespace that it is in,
// which an Apply at the same time cannot close.
func (f *Fabric) find(eni vpc.ENIID) (int, netns.NsHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.want == nil {
		return 0, netns.None(), errors.New("no topology has been applied")
	}
	p := f.want.Where[eni]
	s := f.spaces[plan.VPCKey(p.VPC)]
	if s == nil || s.links[p.Link].index == 0 {
		return 0, netns.None(), errors.New("the interface is not attached")
	}
	ns, err := netns.GetFromPath(s.path)
	return s.links[p.Link].index, ns, err
}

const snapLength = 262144 // a segment before segmentation fits

// Capture writes what passes an interface's link, in both directions, to w in pcap format. It ends with ctx, without an
// error, or when the interface is detached.
func (f *Fabric) Capture(ctx context.Context, eni vpc.ENIID, w io.Writer) error {
	index, ns, err := f.find(eni)
	if err != nil {
		return fmt.Errorf("capture %s: %w", eni, err)
	}
	defer ns.Close()
	var fd int
	err = in(ns, func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("capture %s: open packet socket: %w", eni, err)
	}
	socket := os.NewFile(uintptr(fd), "packet socket of "+string(eni))
	defer func() { _ = socket.Close() }()
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index}); err != nil {
		return fmt.Errorf("capture %s: bind packet socket: %w", eni, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := copyPackets(w, socket); err != nil {
		return fmt.Errorf("capture %s: %w", eni, err)
	}
	return nil
}

// copyPackets writes a pcap file's header, then a record per read. The header goes out at once: whoever reads it knows
// that the capture runs.
func copyPackets(w io.Writer, socket io.Reader) error {
	header := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // times in nanoseconds
	header = binary.LittleEndian.AppendUint16(header, 2)
	header = binary.LittleEndian.AppendUint16(header, 4)
	header = append(header, make([]byte, 8)...)
	header = binary.LittleEndian.AppendUint32(header, snapLength)
	header = binary.LittleEndian.AppendUint32(header, 1) // Ethernet
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	out := bufio.NewWriter(w)
	buf := make([]byte, snapLength)
	for {
		n, err := socket.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return fmt.Errorf("read packet: %w", err)
		}
		now := time.Now()
		record := binary.LittleEndian.AppendUint32(nil, uint32(now.Unix()))
		record = binary.LittleEndian.AppendUint32(record, uint32(now.Nanosecond()))
		record = binary.LittleEndian.AppendUint32(record, uint32(n))
		record = append(binary.LittleEndian.AppendUint32(record, uint32(n)), buf[:n]...)
		if _, err := out.Write(record); err != nil {
			return fmt.Errorf("write packet: %w", err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write packet: %w", err)
		}
	}
}
