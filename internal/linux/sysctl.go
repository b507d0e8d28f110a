package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// readSysctls reads the present values of settings; one that does not exist reads as empty.
func (h *Host) readSysctls(wanted []hostnet.Sysctl) (have []hostnet.Sysctl, err error) {
	err = h.in(func() error {
		for _, s := range wanted {
			data, err := os.ReadFile(filepath.Join(h.procSys, s.Key))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("read sysctl %s: %w", s.Key, err)
			}
			have = append(have, hostnet.Sysctl{Key: s.Key, Value: strings.TrimSpace(string(data))})
		}
		return nil
	})
	return have, err
}

// SetSysctls writes settings. Those that this kernel does not have are left out, as are those of a family that is off.
func (h *Host) SetSysctls(_ context.Context, settings []hostnet.Sysctl) error {
	return h.in(func() error {
		var errs []error
		for _, s := range settings {
			if err := h.writeSysctl(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// writeSysctl writes one setting unless it has the value: some writes take the kernel's lock of all networking, which a
// burst of pods contends for. The caller is in the namespace.
func (h *Host) writeSysctl(s hostnet.Sysctl) error {
	f, err := os.OpenFile(filepath.Join(h.procSys, s.Key), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open sysctl %s: %w", s.Key, err)
	}
	have := make([]byte, 64) // longer than any value of ours
	n, err := f.Read(have)
	if err == nil && strings.TrimSpace(string(have[:n])) == s.Value {
		return f.Close()
	}
	_, err = f.WriteAt([]byte(s.Value), 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write sysctl %s=%s: %w", s.Key, s.Value, err)
	}
	return nil
}
