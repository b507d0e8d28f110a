package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"os/exec"
	"syscall"
)

// capture is a running `berth lab pcap`.
type capture struct {
	l   *lab
	cmd *exec.Cmd
	out *bufio.Reader
}

// packet is the addresses of an IPv4 packet.
type packet struct{ from, to netip.Addr }

const pcapHeader, pcapRecord, ethernet = 24, 16, 14

// capture returns once packets are seen: the header of the file says so.
func (l *lab) capture(ctx context.Context, eni string) *capture {
	l.Helper()
	cmd := l.command(ctx, "berth-lab", "pcap", eni)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	c := &capture{l: l, cmd: cmd, out: bufio.NewReader(pipe)}
	if _, err := io.ReadFull(c.out, make([]byte, pcapHeader)); err != nil {
		l.Fatalf("capture %s: %v", eni, err)
	}
	return c
}

// end ends the capture as Ctrl-C does, and returns what it saw.
func (c *capture) end() []packet {
	c.l.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.l.Fatal(err)
	}
	data, err := io.ReadAll(c.out)
	if err != nil {
		c.l.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.l.Errorf("an interrupted capture ends with %v", err)
	}
	var packets []packet
	for r := bytes.NewReader(data); r.Len() >= pcapRecord; {
		record := make([]byte, pcapRecord)
		_, _ = io.ReadFull(r, record)
		frame := make([]byte, binary.LittleEndian.Uint32(record[8:]))
		if _, err := io.ReadFull(r, frame); err != nil {
			break // cut off by the end
		}
		if len(frame) < ethernet+20 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
			continue
		}
		ip := frame[ethernet:]
		packets = append(packets, packet{netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))})
	}
	return packets
}
