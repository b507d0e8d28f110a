package budget

import (
	"fmt"
	"time"
)

// HeldError says that a call was not made: EC2 throttles the action, or a share bounds it, and the node's next attempt is
// later than the caller should wait for.
type HeldError struct {
	Action string
	Until  time.Time // when it may leave
	Shared bool      // by the share of a controller
}

// Error implements error.
func (e *HeldError) Error() string {
	text := fmt.Sprintf("the node's next %s leaves at %s", e.Action, e.Until.UTC().Format(time.TimeOnly))
	if e.Shared {
		text += " at the latest, by the share that berth-controller hands out"
	}
	return text
}
