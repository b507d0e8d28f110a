package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// tokens issues and checks session tokens. A token carries its own end and a seal, so nothing is remembered; another
// instance's service has another key and accepts none of them.
type tokens struct{ key [32]byte }

func newTokens() tokens {
	var t tokens
	rand.Read(t.key[:])
	return t
}

const nonceSize = 8

func (t tokens) issue(end time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(end.UnixNano()))
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	b = append(b, nonce...)
	return base64.URLEncoding.EncodeToString(append(b, t.seal(b)...))
}

func (t tokens) valid(token string, now time.Time) bool {
	b, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(b) != 8+nonceSize+sha256.Size {
		return false
	}
	body, seal := b[:8+nonceSize], b[8+nonceSize:]
	return hmac.Equal(seal, t.seal(body)) && now.UnixNano() < int64(binary.BigEndian.Uint64(body))
}

func (t tokens) seal(b []byte) []byte {
	h := hmac.New(sha256.New, t.key[:])
	h.Write(b)
	return h.Sum(nil)
}

// setHopLimit sets the TTL of everything that the connection sends from now on.
func setHopLimit(c net.Conn, hops int) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("set hop limit: not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	level, option := syscall.IPPROTO_IP, syscall.IP_TTL
	if a, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil && a.Addr().Unmap().Is6() {
		level, option = syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
	}
	var failure error
	if err := raw.Control(func(fd uintptr) { failure = syscall.SetsockoptInt(int(fd), level, option, hops) }); err != nil {
		return err
	}
	return failure
}
