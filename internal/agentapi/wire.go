package agentapi

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

const headerSize = 4

// encode returns a message: length and JSON.
func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(body) > MaxMessage {
		return nil, fmt.Errorf("encode message: %d bytes, the limit is %d", len(body), MaxMessage)
	}
	msg := make([]byte, headerSize, headerSize+len(body))
	binary.BigEndian.PutUint32(msg, uint32(len(body))) //nolint:gosec // bounded by MaxMessage
	return append(msg, body...), nil
}

// decode reads one message from r into v. What the reader holds beyond it is not looked at.
func decode(r io.Reader, v any) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return fmt.Errorf("read message length: %w", err)
	}
	n := binary.BigEndian.Uint32(header[:])
	if n == 0 || n > MaxMessage {
		return fmt.Errorf("read message: length %d is not within 1 and %d", n, MaxMessage)
	}
	// Grow with what arrives, not with what the length promises.
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return fmt.Errorf("read message of %d bytes: %w", n, err)
	}
	if len(body) < int(n) {
		return fmt.Errorf("read message of %d bytes: %w after %d", n, io.ErrUnexpectedEOF, len(body))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode message of %d bytes: %w", n, err)
	}
	return nil
}

// document is the request as encoding/json would have it, but of maps: setting up the encoders of five structures takes
// longer than all else that the plugin does to ask, and it does so once in its life.
func (r Request) document() map[string]any {
	d := map[string]any{"version": r.Version, "verb": string(r.Verb)}
	put := func(d map[string]any, key, value string) {
		if value != "" {
			d[key] = value
		}
	}
	put(d, "plugin", r.Plugin)
	put(d, "netns", r.Netns)
	put(d, "cniVersion", r.CNIVersion)
	if r.TimeoutMillis != 0 {
		d["timeoutMillis"] = r.TimeoutMillis
	}
	if r.Attachment != (Attachment{}) {
		d["attachment"] = map[string]any{"network": r.Attachment.Network, "containerID": r.Attachment.ContainerID, "ifName": r.Attachment.IfName}
	}
	if r.Pod != (Pod{}) {
		pod := make(map[string]any)
		put(pod, "namespace", r.Pod.Namespace)
		put(pod, "name", r.Pod.Name)
		put(pod, "uid", r.Pod.UID)
		d["pod"] = pod
	}
	if r.Previous != nil {
		d["previous"] = r.Previous
	}
	if len(r.Valid) > 0 {
		d["valid"] = r.Valid
	}
	return d
}

// WriteRequest sends req and, unless it is nil, the descriptor of netns.
func WriteRequest(c *net.UnixConn, req Request, netns *os.File) error {
	msg, err := encode(req.document())
	if err != nil {
		return err
	}
	if netns == nil {
		_, err = c.Write(msg)
	} else {
		err = writeWithDescriptor(c, msg, netns)
	}
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return nil
}

// writeWithDescriptor attaches the descriptor to the first bytes: a long message may take several writes.
func writeWithDescriptor(c *net.UnixConn, msg []byte, f *os.File) error {
	n, _, err := c.WriteMsgUnix(msg, syscall.UnixRights(int(f.Fd())), nil)
	if err != nil || n == len(msg) {
		return err
	}
	_, err = c.Write(msg[n:])
	return err
}

// ReadRequest reads a request and the descriptor that came with it, nil when none did. The caller closes it.
func ReadRequest(c *net.UnixConn) (Request, *os.File, error) {
	r := &descriptorReader{conn: c}
	var req Request
	err := decode(r, &req)
	if err == nil && len(r.files) > 1 {
		err = fmt.Errorf("%d descriptors came with the request, one is the limit", len(r.files))
	}
	if err == nil {
		err = r.err
	}
	if err != nil {
		r.close()
		return Request{}, nil, err
	}
	if len(r.files) == 0 {
		return req, nil, nil
	}
	return req, r.files[0], nil
}

// descriptorReader reads a connection and collects the descriptors that come with the bytes.
type descriptorReader struct {
	conn  *net.UnixConn
	files []*os.File
	err   error // of the control messages: the bytes are still read
}

// maxDescriptors is how many are taken from one read before the rest counts as an attack.
const maxDescriptors = 4

// Read implements io.Reader.
func (r *descriptorReader) Read(p []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(maxDescriptors*4))
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, oob) // sets close-on-exec
	if oobn > 0 {
		r.collect(oob[:oobn])
	}
	if flags&syscall.MSG_CTRUNC != 0 {
		r.err = errors.Join(r.err, fmt.Errorf("more than %d descriptors came with the request", maxDescriptors))
	}
	if err != nil {
		return n, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *descriptorReader) collect(oob []byte) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("parse control message: %w", err))
		return
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil { // not SCM_RIGHTS
			continue
		}
		for _, fd := range fds {
			r.files = append(r.files, os.NewFile(uintptr(fd), "netns"))
		}
	}
}

func (r *descriptorReader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
}

// WriteReply sends a reply.
func WriteReply(c *net.UnixConn, reply Reply) error {
	msg, err := encode(reply)
	if err != nil {
		return err
	}
	if _, err := c.Write(msg); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}

// ReadReply reads a reply. Only the members that are there are decoded into their structures: see [Request.document].
func ReadReply(r io.Reader) (Reply, error) {
	var members map[string]json.RawMessage
	if err := decode(r, &members); err != nil {
		return Reply{}, err
	}
	var reply Reply
	reply.Result, reply.Report = members["result"], members["report"]
	for name, to := range map[string]any{"version": &reply.Version, "agent": &reply.Agent, "added": &reply.Added, "error": &reply.Error} {
		if member, ok := members[name]; ok {
			if err := json.Unmarshal(member, to); err != nil {
				return Reply{}, fmt.Errorf("decode %s of the reply: %w", name, err)
			}
		}
	}
	return reply, nil
}
