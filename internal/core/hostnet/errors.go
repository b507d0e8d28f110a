package hostnet

import "strings"

// PendingError says that all was done but for what has no link yet. Look again when links change.
type PendingError struct {
	Missing []string
}

// Error lists what is missing.
func (e *PendingError) Error() string { return "not there yet: " + strings.Join(e.Missing, "; ") }
