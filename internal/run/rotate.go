package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

const (
	maxLogSize  = 100 << 20 // bytes
	maxLogFiles = 5         // older files that are kept, as name.1 (the newest) to name.5
)

// rotating is a file that is set aside when it has grown.
type rotating struct {
	path  string
	limit int64
	keep  int

	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenRotating opens a file of lines that is set aside when it has 100 MB, five times; older ones go.
func OpenRotating(path string) (io.WriteCloser, error) {
	return openRotating(path, maxLogSize, maxLogFiles)
}

func openRotating(path string, limit int64, keep int) (*rotating, error) {
	r := &rotating{path: path, limit: limit, keep: keep}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // read by log collectors
		return nil, fmt.Errorf("make directory of %s: %w", path, err)
	}
	return r, r.open()
}

func (r *rotating) open() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640) //nolint:gosec // the path is the administrator's
	if err != nil {
		return fmt.Errorf("open %s: %w", r.path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("read size of %s: %w", r.path, err), f.Close())
	}
	r.file, r.size = f, info.Size()
	return nil
}

// Write implements io.Writer. A rotation that fails leaves the file growing: a log that is too long is better than none.
func (r *rotating) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size > 0 && r.size+int64(len(p)) > r.limit {
		r.rotate()
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

func (r *rotating) rotate() {
	name := func(i int) string { return r.path + "." + strconv.Itoa(i) }
	if _, err := os.Lstat(r.path); err == nil { // else it was set aside before, and a new one could not be opened
		for i := r.keep; i > 1; i-- {
			_ = os.Rename(name(i-1), name(i))
		}
		if err := os.Rename(r.path, name(1)); err != nil {
			return
		}
	}
	old := r.file
	if err := r.open(); err != nil {
		return // go on with the file that was set aside
	}
	_ = old.Close()
}

// Close implements io.Closer.
func (r *rotating) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file.Close()
}
