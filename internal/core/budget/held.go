package budget

import (
	"fmt"
	"time"
)

// HeldError says that a call was not made: EC2 throttles the action, and the node's next attempt is later than the caller
// should wait for.
type HeldError struct {
	Action string
	Until  time.Time // when it may leave
}

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("the node's next %s leaves at %s", e.Action, e.Until.UTC().Format(time.TimeOnly))
}
