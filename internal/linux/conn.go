package linux

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is a netlink socket that carries batches: any number of requests in one message, one answer each. The kernel answers
// before it returns from the send, so a batch costs little more than its slowest request.
type conn struct {
	mu  sync.Mutex
	fd  int
	pid uint32
	seq uint32
	buf []byte
}

// dial opens a socket of protocol in netns, or in the caller's namespace when netns is nil.
func dial(netns *os.File, protocol int) (*conn, error) {
	c := &conn{buf: make([]byte, 32<<10)}
	open := func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	}
	var err error
	if netns == nil {
		err = open()
	} else {
		err = In(netns, open)
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	// Only a kernel that lost an answer could make us wait; then an error is better than a hang.
	timeout := unix.Timeval{Sec: 10}
	if err := errors.Join(
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1), // dumps heed their filters
		unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	); err != nil {
		_ = unix.Close(c.fd)
		return nil, fmt.Errorf("set up netlink socket: %w", err)
	}
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		_ = unix.Close(c.fd)
		return nil, fmt.Errorf("read netlink address: %w", err)
	}
	if sa, ok := name.(*unix.SockaddrNetlink); ok {
		c.pid = sa.Pid
	}
	return c, nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// batch sends requests as one message and returns an error, or nil, for each.
func (c *conn) batch(reqs ...*nl.NetlinkRequest) []error {
	errs := make([]error, len(reqs))
	if len(reqs) == 0 {
		return errs
	}
	_, err := c.exchange(reqs, unix.NLM_F_ACK, errs)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// do sends one request and returns its error.
func (c *conn) do(req *nl.NetlinkRequest) error { return c.batch(req)[0] }

// get sends one request that is answered by one message, and returns what follows its header.
func (c *conn) get(req *nl.NetlinkRequest) ([]byte, error) {
	errs := make([]error, 1)
	data, err := c.exchange([]*nl.NetlinkRequest{req}, 0, errs)
	return data, errors.Join(err, errs[0])
}

// exchange sends reqs and collects an answer to each: an acknowledgement, whose error goes to errs, or a message.
func (c *conn) exchange(reqs []*nl.NetlinkRequest, flags uint16, errs []error) (data []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.seq + 1
	var out []byte
	for _, r := range reqs {
		c.seq++
		r.Seq, r.Pid = c.seq, c.pid
		r.Flags |= flags
		out = append(out, r.Serialize()...)
		for len(out)%unix.NLMSG_ALIGNTO != 0 {
			out = append(out, 0)
		}
	}
	if err := unix.Sendto(c.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send to kernel: %w", err)
	}
	for left := len(reqs); left > 0; {
		n, err := c.receive()
		if err != nil {
			return nil, err
		}
		msgs, err := syscall.ParseNetlinkMessage(c.buf[:n])
		if err != nil {
			return nil, fmt.Errorf("parse answer of kernel: %w", err)
		}
		for _, m := range msgs {
			i := int(m.Header.Seq - first)
			if i < 0 || i >= len(reqs) {
				continue // the answer to a request that was given up
			}
			left--
			if m.Header.Type != unix.NLMSG_ERROR {
				data = append([]byte(nil), m.Data...)
			} else if len(m.Data) >= 4 {
				if errno := -int32(nl.NativeEndian().Uint32(m.Data)); errno != 0 {
					errs[i] = syscall.Errno(errno)
				}
			}
		}
	}
	return data, nil
}

// dump sends a request for a list and returns the messages of the answer, each without its header.
func (c *conn) dump(req *nl.NetlinkRequest) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	req.Seq, req.Pid = c.seq, c.pid
	req.Flags |= unix.NLM_F_DUMP
	if err := unix.Sendto(c.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send to kernel: %w", err)
	}
	var list [][]byte
	interrupted := false
	for {
		n, err := c.receive()
		if err != nil {
			return nil, err
		}
		msgs, err := syscall.ParseNetlinkMessage(c.buf[:n])
		if err != nil {
			return nil, fmt.Errorf("parse answer of kernel: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Seq != c.seq {
				continue
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			if m.Header.Type != unix.NLMSG_DONE && m.Header.Type != unix.NLMSG_ERROR {
				list = append(list, append([]byte(nil), m.Data...))
				continue
			}
			if len(m.Data) >= 4 {
				if errno := -int32(nl.NativeEndian().Uint32(m.Data)); errno != 0 {
					return nil, syscall.Errno(errno)
				}
			}
			if interrupted {
				return nil, netlink.ErrDumpInterrupted
			}
			return list, nil
		}
	}
}

func (c *conn) receive() (int, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
		default:
			return 0, fmt.Errorf("receive from kernel: %w", err)
		}
	}
}
