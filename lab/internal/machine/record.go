package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-net/berth/lab/internal/cgroup"
	"github.com/berth-net/berth/lab/internal/proc"
)

// recordFile keeps what has to be taken away when the lab could not.
const recordFile = "running.json"

// record is what outlives a lab that was killed: its control groups, and for an instant its first process.
type record struct {
	First proc.Identity `json:"first"`
	Tree  *cgroup.Tree  `json:"cgroups"`
}

// record writes the record; it is written before there is anything to forget.
func (m *Machine) record() error {
	r := record{Tree: m.tree}
	if m.first != nil {
		id, err := proc.Identify(m.first.Pid())
		if err != nil {
			return err
		}
		r.First = id
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	partial := m.path(recordFile + ".partial")
	if err := os.WriteFile(partial, text, 0o644); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(partial, m.path(recordFile)); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// Sweep takes away what nodes of a dead lab left: it looks for their folders directly below dir. With removeDisks
// their folders go, too. It must not be called while their lab runs.
func Sweep(dir string, removeDisks bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep nodes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		node := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(node, "disk")); err != nil {
			if _, err := os.Stat(filepath.Join(node, recordFile)); err != nil {
				continue // no node
			}
		}
		if err := sweep(node); err != nil {
			errs = append(errs, fmt.Errorf("sweep node %s: %w", e.Name(), err))
			continue
		}
		errs = append(errs, discard(node, removeDisks))
	}
	return errors.Join(errs...)
}

// sweep ends what the record of one node names.
func sweep(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read record %s: %w", filepath.Join(dir, recordFile), err)
	}
	if err := r.First.Kill(); err != nil {
		return err
	}
	if r.Tree != nil {
		if err := r.Tree.Remove(); err != nil {
			return err
		}
	}
	return nil
}

// discard forgets a node that has ended, and removes its disk where told. The kernel may take a moment to let go of the
// disk's last mounts.
func discard(dir string, removeDisk bool) error {
	if !removeDisk {
		if err := os.Remove(filepath.Join(dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget node: %w", err)
		}
		return nil
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove disk of node: %w", err)
		}
		timer := time.NewTimer(50 * time.Millisecond)
		<-timer.C
	}
}

// machineID is a node's, the same at each start.
func machineID(name string) string {
	sum := sha256.Sum256([]byte("berth lab node " + name))
	return hex.EncodeToString(sum[:16])
}
