// Package journal keeps the planner's records in a file that survives the process: append-only, each line with a
// checksum, written in groups with one fdatasync each.
//
// A line is eight hexadecimal digits (CRC-32C of what follows the space), a space, a JSON object. A file whose last line
// is torn, or whose lines are damaged, is read as far as its lines can be trusted: what is lost is reported, and the
// loop holds what is in doubt.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/berth-net/berth/internal/core/pool"
)

// A journal is worth compacting from compactAt on, in bytes (about 3,000 pod starts), and once it is compactGrowth times as
// long as what the last compaction left: a snapshot that is long itself would else be written after each record.
const (
	compactAt     = 1 << 20
	compactGrowth = 2
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Journal is one file. Load comes first, then Append and Compact in any order, from one goroutine; the writes happen in
// another.
type Journal struct {
	path string
	file *os.File
	lock *os.File

	mu      sync.Mutex
	queue   []entry
	wake    chan struct{}
	stopped chan struct{}
	taken   chan struct{}
	size    int64
	base    int64 // the last snapshot's size
	broken  error // the last write failed
	torn    bool  // and left a part of a line behind
}

type entry struct {
	data    []byte
	replace bool // data is a whole new file
	done    chan error
}

// Open returns the journal at path. Its directory is made when it is missing.
func Open(path string) *Journal {
	j := &Journal{path: path, wake: make(chan struct{}, 1), stopped: make(chan struct{}), taken: make(chan struct{})}
	go j.write()
	return j
}

// Taken is closed once no other process has the journal: from the first Load on that does not fail for that.
func (j *Journal) Taken() <-chan struct{} { return j.taken }

// Load reads the records of earlier runs. Damage says what could not be read, empty when all could. A missing file is an
// empty journal. The damaged part of a file is kept beside it with the suffix .damaged.
// While another process has the journal there is an error: two agents would give the same addresses to different pods.
func (j *Journal) Load() (records []pool.Record, damage string, err error) {
	if err := j.take(); err != nil {
		return nil, "", err
	}
	data, err := os.ReadFile(j.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read journal %s: %w", j.path, err)
	}
	records, damage = Decode(data)
	if damage != "" {
		if err := os.WriteFile(j.path+".damaged", data, 0o600); err != nil {
			return nil, "", fmt.Errorf("keep damaged journal %s: %w", j.path, err)
		}
	}
	if damage != "" || !bytes.HasSuffix(data, []byte("\n")) { // the next line must begin on its own
		if err := j.replaceFile(encode(records)); err != nil {
			return nil, "", fmt.Errorf("repair journal %s: %w", j.path, err)
		}
	}
	j.mu.Lock()
	j.size = int64(len(data))
	j.mu.Unlock()
	return records, damage, nil
}

// take makes the journal this process's own. The kernel gives it back however the process ends. Where the file of the lock
// cannot be made the journal cannot be written either, which is told when that is tried.
func (j *Journal) take() error {
	select {
	case <-j.taken:
		return nil
	default:
	}
	err := os.MkdirAll(filepath.Dir(j.path), 0o755) //nolint:gosec // shared with other programs of the node
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(j.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err == nil {
		err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			return errors.Join(fmt.Errorf("lock journal %s: another agent runs on this node, this one waits for its end", j.path), f.Close())
		}
		j.lock = f
	}
	close(j.taken)
	return nil
}

// Decode reads a journal's bytes. It never fails: damage says which lines were skipped. A last line without its end is
// no damage.
func Decode(data []byte) (records []pool.Record, damage string) {
	bad, first := 0, 0
	r := bufio.NewReader(bytes.NewReader(data))
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			rec, ok := decodeLine(line)
			switch {
			case ok:
				records = append(records, rec)
			case err != nil: // torn by a crash: it was never durable, so nothing was done on its word
			case bad == 0:
				bad, first = 1, n
			default:
				bad++
			}
		}
		if err != nil {
			break
		}
	}
	if bad > 0 {
		damage = fmt.Sprintf("%d of %d lines cannot be trusted, the first is line %d", bad, bad+len(records), first)
	}
	return records, damage
}

func decodeLine(line []byte) (pool.Record, bool) {
	var rec pool.Record
	if len(line) < 11 || line[8] != ' ' || line[len(line)-1] != '\n' {
		return rec, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	body := line[9 : len(line)-1]
	if err != nil || uint32(sum) != crc32.Checksum(body, table) {
		return rec, false
	}
	return rec, json.Unmarshal(body, &rec) == nil
}

func encode(records []pool.Record) []byte {
	var b bytes.Buffer
	for _, r := range records {
		body, err := json.Marshal(r)
		if err != nil { // values of the planner's own; a failure would be a bug that Load's checksum shows
			continue
		}
		fmt.Fprintf(&b, "%08x %s\n", crc32.Checksum(body, table), body)
	}
	return b.Bytes()
}

// Append queues records and returns a function that waits until they are durable.
func (j *Journal) Append(records []pool.Record) (wait func() error) {
	if len(records) == 0 {
		return func() error { return nil }
	}
	return j.enqueue(entry{data: encode(records), done: make(chan error, 1)})
}

// Compact replaces the file by a snapshot, in order with Append. A crash leaves the old file or the new one.
func (j *Journal) Compact(snapshot []pool.Record) (wait func() error) {
	return j.enqueue(entry{data: encode(snapshot), replace: true, done: make(chan error, 1)})
}

// Due tells whether the file has grown enough to be compacted.
func (j *Journal) Due() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size >= max(compactAt, compactGrowth*j.base)
}

// Close writes what is queued and ends.
func (j *Journal) Close() error {
	err := j.enqueue(entry{done: make(chan error, 1)})()
	close(j.stopped)
	if j.lock != nil {
		err = errors.Join(err, j.lock.Close())
	}
	return err
}

func (j *Journal) enqueue(e entry) func() error {
	j.mu.Lock()
	j.queue = append(j.queue, e)
	if e.replace {
		j.size, j.base = int64(len(e.data)), int64(len(e.data))
	} else {
		j.size += int64(len(e.data))
	}
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return sync.OnceValue(func() error { return <-e.done })
}

func (j *Journal) write() {
	for {
		select {
		case <-j.wake:
		case <-j.stopped:
			if j.file != nil {
				_ = j.file.Close()
			}
			return
		}
		j.mu.Lock()
		queue := j.queue
		j.queue = nil
		j.mu.Unlock()
		j.writeAll(queue)
	}
}

// writeAll writes entries in order, as few groups as the replacements between them allow.
func (j *Journal) writeAll(queue []entry) {
	var group []entry
	var data []byte
	flush := func() {
		err := j.appendFile(data)
		for _, e := range group {
			e.done <- err
		}
		group, data = nil, nil
	}
	for _, e := range queue {
		if e.replace {
			flush()
			e.done <- j.replaceFile(e.data)
			continue
		}
		group, data = append(group, e), append(data, e.data...)
	}
	flush()
}

func (j *Journal) appendFile(data []byte) error {
	if len(data) == 0 {
		return j.broken
	}
	if j.torn { // it would hide what follows: begin on a line of its own
		data = append([]byte{'\n'}, data...)
	}
	if j.file == nil {
		f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("open journal %s: %w", j.path, err)
		}
		j.file = f
	}
	before, err := j.file.Seek(0, io.SeekEnd)
	if err != nil {
		j.broken = fmt.Errorf("find end of journal %s: %w", j.path, err)
		return j.broken
	}
	if _, err = j.file.Write(data); err == nil {
		err = syscall.Fdatasync(int(j.file.Fd()))
	}
	if err != nil {
		j.broken = fmt.Errorf("append to journal %s: %w", j.path, err)
		// What is not durable was not done: without its torn end the file is not a damaged one.
		j.torn = j.torn || j.file.Truncate(before) != nil
		return j.broken
	}
	j.broken, j.torn = nil, false
	return nil
}

func (j *Journal) replaceFile(data []byte) error {
	next := j.path + ".next"
	if err := writeSynced(next, data); err != nil {
		return fmt.Errorf("compact journal %s: %w", j.path, err)
	}
	if err := os.Rename(next, j.path); err != nil {
		return fmt.Errorf("compact journal %s: %w", j.path, err)
	}
	if dir, err := os.Open(filepath.Dir(j.path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	j.broken, j.torn = nil, false
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(data))
	return errors.Join(err, f.Sync(), f.Close())
}
