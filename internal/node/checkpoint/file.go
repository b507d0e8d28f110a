package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// retryAfter is how long a file that could not be written is left alone.
const retryAfter = 5 * time.Second

// dialTimeout bounds the question whether the other CNI runs.
const dialTimeout = time.Second

// oldPort is where the Amazon VPC CNI listens before version 1.23.
const oldPort = "127.0.0.1:50051"

// File is one checkpoint. Load comes first; Save may be called from one goroutine, while Run runs in another.
type File struct {
	path string
	port string // of old versions of the other CNI
	log  *slog.Logger
	wake chan struct{}

	mu   sync.Mutex
	next []pool.Allocation
	open bool // next is not written yet

	writing sync.Mutex // one write at a time; guards what follows
	marks   []string   // checksums of what this agent wrote or is about to write
	wrote   bool       // in this run
	keep    bool       // what is there must be kept aside before it is replaced: not all of it could be believed
}

// New returns the checkpoint at path.
func New(path string, log *slog.Logger) *File {
	return &File{path: path, port: oldPort, log: log, wake: make(chan struct{}, 1)}
}

// marksPath has the checksums of the agent's own last files, a line each: the one that is there and the one that follows.
func (f *File) marksPath() string { return f.path + ".marks" }

// Socket is where the Amazon VPC CNI listens while it runs, from version 1.23 on.
func (f *File) Socket() string { return filepath.Join(filepath.Dir(f.path), "ipamd.sock") }

// Load reads the file. While the other CNI runs there is an error: both would give the same addresses to different pods.
// What cannot be read as a checkpoint is no error but Found.Damage.
func (f *File) Load() (Found, error) {
	found := Found{Path: f.path}
	if err := silent("unix", f.Socket()); err != nil {
		return found, err
	}
	data, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, nil
	case err != nil:
		found.Exists, found.Foreign, found.Damage = true, true, err.Error()
		return found, nil
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.marks = f.readMarks(); f.ranSince() {
		f.marks = nil // even if it left the file alone: our next write makes it ours again
	}
	found.Exists, found.Foreign = true, !slices.Contains(f.marks, checksum(data))
	if _, err := os.Stat(f.Socket()); found.Foreign && errors.Is(err, fs.ErrNotExist) { // else the port is anybody's
		if err := silent("tcp", f.port); err != nil {
			return found, err
		}
		if data, err = os.ReadFile(f.path); err != nil { // what it wrote last
			return found, fmt.Errorf("read checkpoint %s: %w", f.path, err)
		}
	}
	if found.Entries, err = Decode(data); err != nil {
		found.Damage = err.Error()
	}
	return found, nil
}

// silent is an error while the other CNI listens on an address.
func silent(network, address string) error {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), network, address)
	if err != nil {
		return nil //nolint:nilerr // nobody is there
	}
	return errors.Join(fmt.Errorf("the Amazon VPC CNI runs on this node and listens on %s: this agent waits for its end", address), conn.Close())
}

// KeepAside makes the next write leave a copy of the present file beside it, with the suffix .kept: the operator may want to
// see what could not be believed.
func (f *File) KeepAside() {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.keep = true
}

func (f *File) readMarks() []string {
	data, err := os.ReadFile(f.marksPath())
	if err != nil {
		return nil // none is the safe answer: the kernel is asked about each pod
	}
	return strings.Fields(string(data))
}

// ranSince tells whether the other CNI was started after our last write, even if it left the file alone: it makes its socket
// anew, and leaves it there when it is killed, as each of its ends is.
func (f *File) ranSince() bool {
	marks, err := os.Stat(f.marksPath())
	if err != nil {
		return true
	}
	socket, err := os.Stat(f.Socket())
	return err == nil && socket.ModTime().After(marks.ModTime())
}

// Save hands the present pods over, to be written by Run. It never waits; of several that wait, the last is written.
func (f *File) Save(pods []pool.Allocation) {
	f.mu.Lock()
	f.next, f.open = pods, true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run writes what Save hands over until ctx ends; Close writes the rest.
func (f *File) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		err := f.flush()
		if err == nil {
			continue
		}
		f.log.Warn("the checkpoint for the way back is behind", run.KeyErr, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// Close writes what is not written yet.
func (f *File) Close() error { return f.flush() }

func (f *File) flush() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	pods, open := f.next, f.open
	f.open = false
	f.mu.Unlock()
	if !open {
		return nil
	}
	if err := f.write(pods); err != nil {
		f.mu.Lock()
		f.open = true // a later Save is as good
		f.mu.Unlock()
		return err
	}
	return nil
}

// write makes the marks durable, then the file. A crash between the two leaves the old file, whose mark is still there.
func (f *File) write(pods []pool.Allocation) error {
	data, err := Encode(pods)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read checkpoint %s: %w", f.path, err)
	}
	if err == nil && bytes.Equal(old, data) && slices.Contains(f.marks, checksum(data)) {
		return nil
	}
	if err == nil && f.wrote && !slices.Contains(f.marks, checksum(old)) {
		f.keep = true
		f.log.Error("another CNI wrote this file while this agent runs: both on one node give the same addresses to different pods; end one of them", "path", f.path)
	}
	if f.keep {
		if err := replace(f.path+".kept", old); err != nil {
			return fmt.Errorf("keep checkpoint %s aside: %w", f.path, err)
		}
		f.keep = false
	}
	marks := []string{checksum(data)}
	if slices.Contains(f.marks, checksum(old)) {
		marks = append(marks, checksum(old))
	}
	if err := replace(f.marksPath(), []byte(strings.Join(marks, "\n")+"\n")); err != nil {
		return fmt.Errorf("write marks of checkpoint %s: %w", f.path, err)
	}
	f.marks = marks
	if err := replace(f.path, data); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.path, err)
	}
	f.wrote = true
	return nil
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// replace writes a file beside path, makes it durable and puts it in path's place.
func replace(path string, data []byte) (err error) {
	tmp := path + ".next"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
