package vpc

import (
	"errors"
	"fmt"
	"time"
)

// Code classifies an error of the cloud. The set is closed; adapters map every wire code onto it once.
type Code string

// The codes, with what a caller may do about them.
const (
	SubnetFull       Code = "SubnetFull"       // no address left in the subnet: try another subnet
	PrefixFragmented Code = "PrefixFragmented" // no aligned /28 left: single addresses may still be there
	AddressTaken     Code = "AddressTaken"     // a block that the caller named is in use: somebody was faster
	TooManyGroups    Code = "TooManyGroups"    // more security groups than the account's quota for an interface
	LimitReached     Code = "LimitReached"     // slots of the interface or instance, or an account's quota
	Throttled        Code = "Throttled"        // ask again later
	NotFound         Code = "NotFound"         // gone, or not visible yet
	InUse            Code = "InUse"            // attached or otherwise in use
	NotAuthorized    Code = "NotAuthorized"    // IAM denies the action
	Inconsistent     Code = "Inconsistent"     // two answers contradict each other: hold
	Invalid          Code = "Invalid"          // the request can never succeed as it stands
	Internal         Code = "Internal"         // everything else: server errors, timeouts, garbage
)

// Error is an error of the cloud in the project's own terms.
type Error struct {
	Code    Code
	Op      string // EC2 action, for example "AttachNetworkInterface"
	Subject string // identifier of the object that it is about
	Hint    string // what the reader can do, or empty
	Err     error  // the wire error, for the log
	// Until is when the node's own request budget lets the next attempt of a throttled action leave, as urgent as this one;
	// zero when it does not say.
	Until time.Time
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %s", e.Op, e.Subject, e.Code)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the wire error.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first Error in err's chain; "" for nil and Internal for an error of another kind.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
