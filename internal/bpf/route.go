package bpf

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// routeSocket asks rtnetlink one thing at a time.
type routeSocket struct {
	fd int
}

func dialRoute() (*routeSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &routeSocket{fd: fd}
	limit := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		s.close()
		return nil, fmt.Errorf("limit netlink socket: %w", err)
	}
	return s, nil
}

func (s *routeSocket) close() { _ = unix.Close(s.fd) }

func (s *routeSocket) send(kind, flags uint16, body []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // sequence and sender: one question at a time
	return unix.Sendto(s.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive calls each for every message of one datagram until it says that was the last.
func (s *routeSocket) receive(each func(kind uint16, body []byte) (last bool, err error)) error {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(s.fd, buffer, 0)
		if err != nil {
			return fmt.Errorf("read from netlink: %w", err)
		}
		for rest := buffer[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return fmt.Errorf("netlink message of %d bytes in %d", size, len(rest))
			}
			last, err := each(binary.NativeEndian.Uint16(rest[4:]), rest[unix.NLMSG_HDRLEN:size])
			if last || err != nil {
				return err
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

// acknowledged is the error of a message of type NLMSG_ERROR, nil when it says that all is well.
func acknowledged(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("netlink error of %d bytes", len(body))
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// ask sends a request and waits for its acknowledgement.
func (s *routeSocket) ask(kind, flags uint16, body []byte) error {
	if err := s.send(kind, unix.NLM_F_ACK|flags, body); err != nil {
		return err
	}
	return s.receive(func(kind uint16, body []byte) (bool, error) {
		if kind != unix.NLMSG_ERROR {
			return false, nil
		}
		return true, acknowledged(body)
	})
}

// has tells whether a dump has anything in it.
func (s *routeSocket) has(kind uint16, body []byte) (bool, error) {
	if err := s.send(kind, unix.NLM_F_DUMP, body); err != nil {
		return false, err
	}
	found := false
	err := s.receive(func(kind uint16, body []byte) (bool, error) {
		switch kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return true, acknowledged(body)
		}
		found = true
		return false, nil
	})
	return found, err
}
