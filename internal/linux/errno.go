package linux

import (
	"errors"
	"slices"
	"syscall"
)

func asErrno(err error) (syscall.Errno, bool) {
	return errors.AsType[syscall.Errno](err)
}

// except returns err unless it is one of errnos.
func except(err error, errnos ...syscall.Errno) error {
	if e, ok := asErrno(err); ok && slices.Contains(errnos, e) {
		return nil
	}
	return err
}

// unlessGone returns err unless it says that the thing is not there.
func unlessGone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}
