package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/lab/internal/machine"
	"github.com/berth-net/berth/lab/internal/proc"
)

// downLimit is how long the network may take to be removed.
const downLimit = 60 * time.Second

// down ends everything that runs, in the reverse order of its start.
func (w *World) down(stop context.CancelFunc, group *errgroup.Group) error {
	errs := []error{w.stopNodes()}
	if w.plane != nil {
		errs = append(errs, w.plane.Stop())
	}
	if w.apis != nil {
		errs = append(errs, w.apis.close())
	}
	stop()
	errs = append(errs, group.Wait())
	if w.addons != nil {
		w.addons.Wait()
	}
	if w.sim != nil && w.built.VPC != "" {
		errs = append(errs, w.save())
	}
	if w.fabric != nil {
		ctx, cancel := context.WithTimeout(context.Background(), downLimit)
		defer cancel()
		errs = append(errs, w.fabric.Close(ctx))
	}
	return errors.Join(errs...)
}

// Sweep removes what a lab that is dead left in the kernel, and with disks everything on the disk but logs.
func Sweep(ctx context.Context, p Paths, disks bool) error {
	errs := []error{machine.Sweep(p.Nodes(), disks)}
	if _, err := os.Stat(p.netns()); err == nil {
		f, err := fabric.New(fabric.Options{Prefix: fabricPrefix, Dir: p.netns(), NFT: p.Cache().Bin("nft")})
		if err == nil {
			err = f.Close(ctx)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep lab: %w", err) // the records must stay until all is gone
	}
	if err := os.RemoveAll(p.Run); err != nil {
		return fmt.Errorf("sweep lab: %w", err)
	}
	if !disks {
		return nil
	}
	return removeDisk(p)
}

// removeDisk removes the lab's folder but for the logs, which are what one wants to read afterwards.
func removeDisk(p Paths) error {
	entries, err := os.ReadDir(p.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove lab's disk: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	if strings.Contains(string(mounts), " "+p.Dir+"/") {
		return fmt.Errorf("remove lab's disk: something is still mounted below %s", p.Dir)
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(filepath.Dir(p.Log())) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(p.Dir, e.Name())); err != nil {
			return fmt.Errorf("remove lab's disk: %w", err)
		}
	}
	return nil
}

// Record says which process is the lab, and which checkout's.
type Record struct {
	proc.Identity
	Repo string `json:"repo"`
}

// Recorded is the lab that runs or has run last on this machine; ok is false when there is no trace of one.
func Recorded() (r Record, ok bool) {
	err := readJSON(PathsOf("").Record(), &r)
	return r, err == nil && r.Repo != ""
}

// Running is the lab that runs on this machine; ok is false when none does.
func Running() (r Record, ok bool) {
	r, ok = Recorded()
	return r, ok && r.Alive()
}

// Write keeps the record.
func (r Record) Write() error { return writeJSON(PathsOf(r.Repo).Record(), r) }
