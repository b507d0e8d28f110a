package pacing

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Faults are the faults in force.
type Faults struct {
	List []Fault `json:"list,omitempty"`
	Last int     `json:"last,omitempty"` // the last id given
}

// Add adds a fault and returns its id.
func (fs *Faults) Add(f Fault) int {
	fs.Last++
	f.ID = fs.Last
	fs.List = append(fs.List, f)
	return f.ID
}

// Active lists the faults that have not ended.
func (fs *Faults) Active(now time.Time) []Fault {
	fs.expire(now)
	return append([]Fault{}, fs.List...)
}

// Clear removes one fault, or all with id zero.
func (fs *Faults) Clear(id int) {
	fs.List = slices.DeleteFunc(fs.List, func(f Fault) bool { return id == 0 || f.ID == id })
}

func (fs *Faults) expire(now time.Time) {
	fs.List = slices.DeleteFunc(fs.List, func(f Fault) bool { return !f.Until.IsZero() && !now.Before(f.Until) })
}

// apply combines the faults that hit a call: delays add up, the first error counts.
func (fs *Faults) apply(c Call, now time.Time, rng *rand.Rand) Verdict {
	var v Verdict
	if len(fs.List) == 0 {
		return v
	}
	fs.expire(now)
	spent := make(map[int]bool)
	for i := range fs.List {
		f := &fs.List[i]
		if !f.matches(c) || f.Share > 0 && f.Share < 1 && rng.Float64() >= f.Share {
			continue
		}
		if f.Count > 0 {
			f.Count--
			spent[f.ID] = f.Count == 0
		}
		f.hit(&v)
	}
	fs.List = slices.DeleteFunc(fs.List, func(f Fault) bool { return spent[f.ID] })
	return v
}

func (f *Fault) matches(c Call) bool {
	return serviceOf(f.Action) == serviceOf(c.Action) && (f.Action == "" || ec2.Match(f.Action, c.Action)) && (f.Caller == "" || ec2.Match(f.Caller, c.Source))
}

func (f *Fault) hit(v *Verdict) {
	v.Delay += f.Delay
	v.DropRequest = v.DropRequest || f.DropRequest
	v.DropResponse = v.DropResponse || f.DropResponse
	if v.Garbage == "" {
		v.Garbage = f.Garbage
	}
	if v.Code == "" && f.Code != "" {
		v.Code, v.Status, v.Message = f.Code, f.status(), f.Message
		if v.Message == "" {
			v.Message = messages[f.Code]
		}
		if v.Message == "" {
			v.Message = "Injected fault."
		}
	}
}

func (f *Fault) status() int {
	switch {
	case f.Status != 0:
		return f.Status
	case f.Code == "RequestLimitExceeded" || f.Code == "Unavailable" || f.Code == "ServiceUnavailable":
		return 503
	case f.Code == "InternalError" || f.Code == "InsufficientInstanceCapacity":
		return 500
	case f.Code == "UnauthorizedOperation":
		return 403
	case f.Code == "AuthFailure":
		return 401
	}
	return 400
}

// messages are EC2's texts for codes that are injected often.
var messages = map[string]string{
	"RequestLimitExceeded":              "Request limit exceeded.",
	"InternalError":                     "An internal error has occurred",
	"Unavailable":                       "The service is unavailable. Please try again shortly.",
	"UnauthorizedOperation":             "You are not authorized to perform this operation.",
	"InsufficientFreeAddressesInSubnet": "The specified subnet does not have enough free addresses to satisfy the request.",
	"InsufficientCidrBlocks":            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
	"PrivateIpAddressLimitExceeded":     "Number of private addresses will exceed limit.",
}
