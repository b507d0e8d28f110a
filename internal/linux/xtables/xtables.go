// Package xtables removes the Amazon VPC CNI's rules from the tables of iptables-legacy.
//
// Those tables are read and replaced whole, by socket options (linux/netfilter_ipv4/ip_tables.h), in the network namespace of
// the calling thread. No program of ours or of the image does that, and a node whose iptables are legacy keeps those rules
// there. What others have in the same tables stays as it is, with its counters.
package xtables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// Socket options and sizes.
const (
	soGetInfo     = 64
	soGetEntries  = 65
	soReplace     = 64
	soAddCounters = 65

	hooks         = 5
	tableNameSize = 32
	counterSize   = 16
	// lockWait is how long others, such as kube-proxy, may have the tables locked.
	lockWait = 5 * time.Second
)

// tables are the tables in which the Amazon VPC CNI has rules.
var tables = []string{"nat", "mangle"}

// info is struct ipt_getinfo.
type info struct {
	Name      [tableNameSize]byte
	Hooks     uint32
	Entry     [hooks]uint32
	Underflow [hooks]uint32
	Entries   uint32
	Size      uint32
}

// replaceHeader is struct ipt_replace without the entries that follow it.
type replaceHeader struct {
	Name      [tableNameSize]byte
	Hooks     uint32
	Entries   uint32
	Size      uint32
	Entry     [hooks]uint32
	Underflow [hooks]uint32
	Counters  uint32 // how many the kernel writes
	To        uintptr
}

// Remove removes the Amazon VPC CNI's rules and chains, and says what it removed. lock is the file that programs of
// iptables-legacy lock. A chain of theirs to which somebody else's leads is an error, and stays.
func Remove(ctx context.Context, lock string) (changed []string, err error) {
	for _, name := range tables {
		t, err := read(name)
		var removed []string
		if err == nil && t != nil {
			removed, _, err = t.without()
		}
		if err == nil && len(removed) > 0 { // nobody is locked out for a look
			removed, err = replace(ctx, name, lock)
		}
		changed = append(changed, removed...)
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// Translates tells whether the Amazon VPC CNI translates addresses by iptables-legacy.
func Translates() (bool, error) {
	t, err := read("nat")
	if err != nil || t == nil {
		return false, err
	}
	entries, err := parse(t.entries)
	if err != nil {
		return false, fmt.Errorf("table nat of iptables-legacy: %w", err)
	}
	chain := ""
	for _, e := range entries {
		if e.head != "" {
			chain = e.head
		}
		if hostnet.IsExistingSNAT(chain) && hostnet.Translates(t.entries[e.at:e.at+e.size]) {
			return true, nil
		}
	}
	return false, nil
}

// replace reads a table once more under the lock, and replaces it.
func replace(ctx context.Context, name, lock string) (removed []string, err error) {
	unlock, err := lockFile(ctx, lock)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t, err := read(name)
	if err != nil || t == nil {
		return nil, err
	}
	removed, next, err := t.without()
	if err != nil || len(removed) == 0 {
		return nil, err
	}
	return removed, t.replaceBy(next)
}

// lockFile takes a file's lock, as long as others have it at most for lockWait.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for end := time.Now().Add(lockWait); ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// table is a table as the kernel has it.
type table struct {
	info    info
	entries []byte
}

// read reads a table of the thread's network namespace; nil when nobody has used it.
func read(name string) (*table, error) {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, os.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(names)), name) {
		return nil, nil //nolint:nilnil // nil is the value of a table that is not there
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of iptables-legacy: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	t := &table{}
	copy(t.info.Name[:], name)
	info := make([]byte, binary.Size(t.info))
	copy(info, name)
	if err := get(fd, soGetInfo, info); err != nil {
		return nil, fmt.Errorf("read table %s of iptables-legacy: %w", name, err)
	}
	if _, err := binary.Decode(info, binary.NativeEndian, &t.info); err != nil {
		return nil, fmt.Errorf("read table %s of iptables-legacy: %w", name, err)
	}
	const header = tableNameSize + 8 // struct ipt_get_entries: name, size, padding
	data := make([]byte, header+int(t.info.Size))
	copy(data, name)
	binary.NativeEndian.PutUint32(data[tableNameSize:], t.info.Size)
	if err := get(fd, soGetEntries, data); err != nil { // it changed in between: the next look will do
		return nil, fmt.Errorf("read rules of table %s of iptables-legacy: %w", name, err)
	}
	t.entries = data[header:]
	return t, nil
}

func get(fd, option int, data []byte) error {
	size := uint32(len(data))
	//nolint:gosec // the option has no wrapper; both pointers are to live values of the sizes that go with them
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, uintptr(option),
		uintptr(unsafe.Pointer(&data[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// replaceBy replaces the table and gives the rules that stay their counters back. The kernel refuses it when the number of rules
// is not what was read any more.
func (t *table) replaceBy(next rules) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	old := make([]byte, int(t.info.Entries)*counterSize)
	r := replaceHeader{
		Name: t.info.Name, Hooks: t.info.Hooks, Entries: uint32(len(next.kept)), Size: uint32(len(next.data)), Entry: next.entry, Underflow: next.underflow,
		Counters: t.info.Entries, To: uintptr(unsafe.Pointer(&old[0])), //nolint:gosec // the kernel writes so many counters there
	}
	size := int(unsafe.Sizeof(r))
	request := make([]byte, size, size+len(next.data))
	copy(request, unsafe.Slice((*byte)(unsafe.Pointer(&r)), size)) //nolint:gosec // the structure as the kernel has it, padding included
	request = append(request, next.data...)
	err = unix.SetsockoptString(fd, unix.SOL_IP, soReplace, string(request))
	runtime.KeepAlive(old)
	if err != nil {
		return fmt.Errorf("replace table %s of iptables-legacy: %w", tableName(t.info.Name), err)
	}
	counters := make([]byte, tableNameSize+8, tableNameSize+8+len(next.kept)*counterSize)
	copy(counters, t.info.Name[:])
	binary.NativeEndian.PutUint32(counters[tableNameSize:], uint32(len(next.kept)))
	for _, i := range next.kept {
		counters = append(counters, old[i*counterSize:(i+1)*counterSize]...)
	}
	_ = unix.SetsockoptString(fd, unix.SOL_IP, soAddCounters, string(counters)) // figures for people: not worth an error
	return nil
}

func tableName(name [tableNameSize]byte) string { return word(name[:]) }

// word is a text without the zero bytes at its end.
func word(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// rules is the content of a table.
type rules struct {
	data             []byte
	entry, underflow [hooks]uint32
	kept             []int // which of the old entries they are
}

// Offsets inside struct ipt_entry and its target.
const (
	entrySize    = 112
	atTarget     = 88
	atNext       = 90
	atTargetName = 2
	atVerdict    = 32
	targetSize   = 32
	nameSize     = 29
)

// entry is one entry: a rule, the head of a chain, or the end of the table.
type entry struct {
	at, size int
	head     string // of the chain that begins here
	jump     int    // where it jumps to, -1 for nowhere
	verdict  int    // where the number of that place is
}

// without returns the table's rules without the Amazon VPC CNI's, and what they were.
func (t *table) without() (removed []string, next rules, err error) {
	entries, err := parse(t.entries)
	if err != nil {
		return nil, next, fmt.Errorf("table %s of iptables-legacy: %w", tableName(t.info.Name), err)
	}
	gone, doomed, chain := make([]bool, len(entries)), map[int]string{}, ""
	for i, e := range entries {
		if e.head != "" {
			if chain = e.head; hostnet.IsExistingChain(chain) {
				doomed[e.at+e.size] = chain
				removed = append(removed, fmt.Sprintf("iptables-legacy -t %s -X %s", tableName(t.info.Name), chain))
			}
		}
		gone[i] = hostnet.IsExistingChain(chain)
	}
	for i, e := range entries {
		if gone[i] {
			continue
		}
		to, jumps := doomed[e.jump]
		inBase := t.inBase(e.at)
		switch {
		case jumps && !inBase:
			return nil, next, fmt.Errorf("table %s of iptables-legacy: a chain of somebody else leads to %s", tableName(t.info.Name), to)
		case jumps, inBase && hostnet.IsExistingRule(t.entries[e.at:e.at+e.size]):
			gone[i] = true
			removed = append(removed, fmt.Sprintf("iptables-legacy -t %s -D rule %d", tableName(t.info.Name), i+1))
		}
	}
	return removed, t.keep(entries, gone), nil
}

// inBase tells whether an entry belongs to a base chain.
func (t *table) inBase(at int) bool {
	for i := range hooks {
		if t.info.Hooks&(1<<i) != 0 && at >= int(t.info.Entry[i]) && at < int(t.info.Underflow[i]) {
			return true
		}
	}
	return false
}

// keep lines up the entries that stay. Whatever pointed at one that goes points at the next that stays.
func (t *table) keep(entries []entry, gone []bool) (next rules) {
	moved := map[int]int{}
	at := 0
	for i, e := range entries {
		moved[e.at] = at
		if !gone[i] {
			at += e.size
		}
	}
	for i, e := range entries {
		if gone[i] {
			continue
		}
		begin := len(next.data)
		next.data = append(next.data, t.entries[e.at:e.at+e.size]...)
		if e.jump >= 0 {
			binary.NativeEndian.PutUint32(next.data[begin+e.verdict:], uint32(moved[e.jump]))
		}
		next.kept = append(next.kept, i)
	}
	for i := range hooks {
		next.entry[i], next.underflow[i] = uint32(moved[int(t.info.Entry[i])]), uint32(moved[int(t.info.Underflow[i])])
	}
	return next
}

// parse finds the entries in a table's data.
func parse(data []byte) ([]entry, error) {
	var entries []entry
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < entrySize {
			return nil, fmt.Errorf("%d bytes at its end are no rule", len(rest))
		}
		target, size := int(binary.NativeEndian.Uint16(rest[atTarget:])), int(binary.NativeEndian.Uint16(rest[atNext:]))
		if target < entrySize || size < target+targetSize+4 || size > len(rest) {
			return nil, fmt.Errorf("the rule at byte %d has %d bytes and its target at byte %d", at, size, target)
		}
		e := entry{at: at, size: size, jump: -1, verdict: target + atVerdict}
		switch name := word(rest[target+atTargetName : target+atTargetName+nameSize]); name {
		case "ERROR":
			e.head = word(bytes.SplitAfterN(rest[target+targetSize:size], []byte{0}, 2)[0])
		case "":
			if v := int32(binary.NativeEndian.Uint32(rest[e.verdict:])); v >= 0 {
				e.jump = int(v)
			}
		}
		entries = append(entries, e)
		at += size
	}
	return entries, nil
}
