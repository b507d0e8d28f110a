package agentapi_test

import (
	"net"
	"os"
	"syscall"
)

func writeDescriptors(c *net.UnixConn, n int) error {
	return writeRaw(c, message(`{"version":1,"verb":"STATUS"}`), n)
}

// writeRaw sends bytes with n copies of a descriptor.
func writeRaw(c *net.UnixConn, data []byte, n int) error {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer f.Close()
	fds := make([]int, n)
	for i := range fds {
		fds[i] = int(f.Fd())
	}
	_, _, err = c.WriteMsgUnix(data, syscall.UnixRights(fds...), nil)
	return err
}
