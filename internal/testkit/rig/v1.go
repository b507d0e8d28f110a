package rig

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// v1Request is what a plugin of version 1 of the protocol says, and v1Reply what it understands. Both are written down here
// as they were then, and change with nothing: they stand for plugins of a former release, which go on calling until the new
// agent has installed its own.
type v1Request struct {
	Version       int             `json:"version"`
	Verb          string          `json:"verb"`
	Plugin        string          `json:"plugin"`
	TimeoutMillis int64           `json:"timeoutMillis"`
	Attachment    v1Attachment    `json:"attachment"`
	Pod           v1Pod           `json:"pod"`
	CNIVersion    string          `json:"cniVersion,omitempty"`
	Netns         string          `json:"netns,omitempty"`
	Previous      json.RawMessage `json:"previous,omitempty"`
}

type v1Attachment struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
}

type v1Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

type v1Reply struct {
	Version int             `json:"version"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    uint   `json:"code"`
		Msg     string `json:"msg"`
		Details string `json:"details"`
	} `json:"error"`
}

// v1Timeout is how long that plugin waits.
const v1Timeout = 12 * time.Second

// pluginV1 does what the plugin of version 1 does for ADD and DEL, without leaving a DEL on disk.
func (r *Rig) pluginV1(verb string, p Pod) Call {
	began := time.Now()
	out, err := r.askV1(verb, p)
	return Call{Elapsed: time.Since(began), Out: out, Err: err}
}

func (r *Rig) askV1(verb string, p Pod) ([]byte, error) {
	req := v1Request{
		Version: 1, Verb: verb, Plugin: "v0.1.0", TimeoutMillis: v1Timeout.Milliseconds(), Attachment: v1Attachment{"aws-cni", p.Container, "eth0"},
		Pod: v1Pod{"default", p.Name}, Netns: p.NetNS,
	}
	var netns *os.File
	if verb == "ADD" {
		req.CNIVersion = "1.1.0"
		f, err := os.Open(p.NetNS)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		netns = f
	} else if p.Addr.IsValid() {
		req.Previous = json.RawMessage(fmt.Sprintf(`{"addrs":[%q]}`, p.Addr))
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.socket(), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(v1Timeout))
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	var rights []byte
	if netns != nil {
		rights = syscall.UnixRights(int(netns.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), rights, nil); err != nil {
		return nil, err
	}
	return readV1(conn)
}

func readV1(conn io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	var reply v1Reply
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, err
	}
	switch {
	case reply.Version < 1:
		return nil, errors.New("the agent speaks no version that is known")
	case reply.Error != nil:
		return nil, &PluginError{Code: reply.Error.Code, Msg: reply.Error.Msg, Details: reply.Error.Details}
	}
	return reply.Result, nil
}
