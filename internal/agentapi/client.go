package agentapi

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// UnreachableError says that no agent answered: it is down, starting, or did not answer in time. Whether it has acted on
// the request is not known.
type UnreachableError struct {
	Socket string
	Err    error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("ask the agent on %s: %v", e.Socket, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Client asks the agent.
type Client struct {
	Socket string // SocketPath unless a test says otherwise
	Build  string // the caller's version, for the agent's log
}

// Do sends a request, with netns unless it is nil, and waits for the reply at most for timeout. The error is an *Error
// that the agent answered with, or an *UnreachableError.
func (c Client) Do(req Request, netns *os.File, timeout time.Duration) (Reply, error) {
	req.Version, req.Plugin, req.TimeoutMillis = Version, c.Build, timeout.Milliseconds()
	deadline := time.Now().Add(timeout)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("unix", c.Socket)
	if err != nil {
		return Reply{}, &UnreachableError{Socket: c.Socket, Err: err}
	}
	defer func() { _ = conn.Close() }()
	reply, err := exchange(conn, req, netns, deadline)
	if err != nil {
		return Reply{}, &UnreachableError{Socket: c.Socket, Err: err}
	}
	if reply.Version < MinVersion {
		return Reply{}, Errorf(CodeProtocol, "the agent speaks version %d of the protocol, the oldest understood is %d", reply.Version, MinVersion)
	}
	if reply.Error != nil {
		return reply, reply.Error
	}
	return reply, nil
}

func exchange(conn net.Conn, req Request, netns *os.File, deadline time.Time) (Reply, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return Reply{}, errors.New("not a unix socket")
	}
	if err := u.SetDeadline(deadline); err != nil {
		return Reply{}, fmt.Errorf("set deadline: %w", err)
	}
	if err := WriteRequest(u, req, netns); err != nil {
		return Reply{}, err
	}
	return ReadReply(u)
}
