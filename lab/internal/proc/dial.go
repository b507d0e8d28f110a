package proc

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to an address from inside a network namespace. The connection stays usable everywhere: a socket
// belongs to the namespace in which it was made.
func Dial(ctx context.Context, netns string, to netip.AddrPort) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	answer := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // unlocked only once the thread is back where it was, else it ends here
		leave, err := enter(netns, "/proc/thread-self/ns/net", unix.CLONE_NEWNET)
		if err != nil {
			answer <- result{err: fmt.Errorf("dial %s: %w", to, err)}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", to.String()) // an address, not a name: the socket is made on this thread
		if leave() == nil {
			runtime.UnlockOSThread()
		}
		answer <- result{conn, err}
	}()
	r := <-answer
	return r.conn, r.err
}
