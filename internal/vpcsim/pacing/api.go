package pacing

import "time"

// Bucket is a token bucket: Size tokens at most, Refill per second.
type Bucket struct {
	Size   float64 `json:"size"`
	Refill float64 `json:"refill"`
}

// Fault makes calls fail or slow. Empty members match or do nothing; the zero Share means every call.
type Fault struct {
	ID int `json:"id"`
	// Action and Caller are globs ("Describe*", "node:*"); empty matches all. Caller is matched against Caller.Source.
	// Actions of other services than EC2 are hit by faults that name the service: "imds:Get", "eks:*", "sts:*".
	Action string `json:"action,omitempty"`
	Caller string `json:"caller,omitempty"`
	// Code, Status and Message are the error to answer. Status defaults by code: 503 for RequestLimitExceeded and
	// Unavailable, 500 for InternalError, 403 for UnauthorizedOperation, else 400.
	Code    string `json:"code,omitempty"`
	Status  int    `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// Share of the matching calls that it hits, between 0 and 1; 0 means all.
	Share float64 `json:"share,omitempty"`
	// Count is how many calls it hits before it ends; Until when it ends. Zero means no end.
	Count int       `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Delay is added to the call.
	Delay time.Duration `json:"delay,omitempty"`
	// DropRequest loses the call before its effect, DropResponse after it.
	DropRequest  bool `json:"dropRequest,omitempty"`
	DropResponse bool `json:"dropResponse,omitempty"`
	// Garbage is answered instead of a reply, after the call's effect.
	Garbage string `json:"garbage,omitempty"`
}

// CallCount is the number of calls with one action, caller and outcome. Outcome is "ok", an error code, or "dropped".
type CallCount struct {
	Action, Caller, Outcome string
	Count                   int
}
