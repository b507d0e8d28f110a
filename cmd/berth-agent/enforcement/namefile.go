package enforcement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/berth-net/berth/internal/core/policy/names"
)

// nameFile is what a next process wants to know of domains: connections that they allow go on then. A line of JSON for each address that
// was learned, appended; now and then it is written anew. It is not synced: what a crash of the machine loses ends with the pods.
type nameFile struct {
	path string

	mu   sync.Mutex
	file *os.File // nil: not open yet
	size int64
	base int64 // size when it was written anew
}

// growth is how many bytes are appended before the file is written anew.
const growth = 1 << 20

// read reads the file. Lines that cannot be read are left out: a process was killed while it wrote.
func (f *nameFile) read() ([]names.Record, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what domains stand for: %w", err)
	}
	var all []names.Record
	for line := range bytes.Lines(text) {
		var r names.Record
		if json.Unmarshal(line, &r) == nil && r.Name != "" && r.Addr.IsValid() {
			all = append(all, r)
		}
	}
	return all, nil
}

func lines(records []names.Record) ([]byte, error) {
	var text []byte
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("write what %s stands for: %w", r.Name, err)
		}
		text = append(append(text, line...), '\n')
	}
	return text, nil
}

// add appends records.
func (f *nameFile) add(records []names.Record) error {
	if len(records) == 0 {
		return nil
	}
	text, err := lines(records)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		if f.file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("keep what domains stand for: %w", err)
		}
	}
	// A newline first: the line before may have been cut off.
	n, err := f.file.Write(append([]byte{'\n'}, text...))
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("keep what domains stand for: %w", err)
	}
	return nil
}

// isLarge tells whether the file should be written anew.
func (f *nameFile) isLarge() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size-f.base > growth
}

// rewrite makes the file hold the records alone. What is added meanwhile waits.
func (f *nameFile) rewrite(records func() ([]names.Record, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := records()
	if err != nil {
		return err
	}
	text, err := lines(all)
	if err != nil {
		return err
	}
	if f.file != nil {
		_ = f.file.Close() // appended, not synced
		f.file = nil
	}
	if err := os.WriteFile(f.path+".new", text, 0o600); err != nil {
		return fmt.Errorf("keep what domains stand for: %w", err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return fmt.Errorf("keep what domains stand for: %w", err)
	}
	f.size, f.base = int64(len(text)), int64(len(text))
	return nil
}
