package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openQueue waits until a link of the socket's namespace, whose other end is up, sends. The kernel opens its queue in a worker that
// may come late, and drops what is sent before; who asks for the link's state has it done at once (ethtool_op_get_link calls
// linkwatch_sync_dev, net/ethtool/ioctl.c; RTM_GETLINK does so only from Linux 6.8 on).
func (c *conn) openQueue(name string) error {
	value := struct{ command, state uint32 }{command: unix.ETHTOOL_GLINK}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)} //nolint:gosec // the kernel's struct ifreq
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, code := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); code != 0 { //nolint:gosec // as above
		return fmt.Errorf("ask for the state of link %s: %w", name, code)
	}
	if value.state == 0 {
		return fmt.Errorf("link %s has no carrier although its other end is up", name)
	}
	return nil
}
