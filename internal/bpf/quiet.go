package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// quietFor is how long nothing was sent to an interface that may stop for some 50 µs.
const quietFor = 100 * time.Millisecond

// removeQuiet removes the empty qdiscs of interfaces to which nothing is sent at the time.
func removeQuiet(interfaces []int) error {
	if len(interfaces) == 0 {
		return nil
	}
	before, err := sent()
	if err != nil {
		return err
	}
	<-time.After(quietFor)
	after, err := sent()
	if err != nil {
		return err
	}
	var errs []error
	for _, ifindex := range interfaces {
		link, err := net.InterfaceByIndex(ifindex)
		if err != nil {
			continue // it is gone
		}
		if n, ok := after[link.Name]; ok && n == before[link.Name] {
			errs = append(errs, removeQdisc(ifindex))
		}
	}
	return errors.Join(errs...)
}

// sent is how many packets each interface of this network namespace has sent: those to its pod. It is the tenth figure of a line of
// /proc/net/dev, behind eight of what came and the bytes (net/core/net-procfs.c).
func sent() (map[string]string, error) {
	f, err := os.Open("/proc/thread-self/net/dev")
	if err != nil {
		return nil, fmt.Errorf("read counters of interfaces: %w", err)
	}
	defer func() { _ = f.Close() }()
	found := make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, figures, ok := strings.Cut(lines.Text(), ":")
		if all := strings.Fields(figures); ok && len(all) > 9 {
			found[strings.TrimSpace(name)] = all[9]
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read counters of interfaces: %w", err)
	}
	return found, nil
}
