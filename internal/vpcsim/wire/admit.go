package wire

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// describeCall says of an EC2 request what the simulator needs to admit it.
func describeCall(action string, form url.Values) vpcsim.Request {
	r := vpcsim.Request{Action: action}
	switch action {
	case "RunInstances":
		r.Resources, _ = strconv.Atoi(form.Get("MaxCount")) // a bad number is refused when it is decoded
	case "TerminateInstances":
		for key := range form {
			if strings.HasPrefix(key, "InstanceId.") {
				r.Resources++
			}
		}
	}
	r.Resources = max(r.Resources, 0)
	if strings.HasPrefix(action, "Describe") {
		r.Unfiltered = true
		for key := range form {
			if key != "Action" && key != "Version" && key != "DryRun" && !strings.HasPrefix(key, "X-Amz-") {
				r.Unfiltered = false
			}
		}
	}
	return r
}

// sideTraffic paces and counts calls to what is not EC2: metadata, EKS and STS. Their actions are named "imds:Get",
// "eks:UpdateAddon", "sts:GetCallerIdentity"; faults and latencies that name them so are theirs alone, and those for EC2
// leave them alone.
type sideTraffic struct {
	mu     sync.Mutex
	rng    *rand.Rand
	faults pacing.Faults
	log    pacing.Log
}

// firstSideFault keeps the ids of these faults apart from the simulator's.
const firstSideFault = 1 << 20

func newSideTraffic() *sideTraffic {
	return &sideTraffic{
		rng:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		faults: pacing.Faults{Last: firstSideFault},
	}
}

// isSideAction tells whether an action, or a pattern of actions, is of metadata, EKS or STS.
func isSideAction(pattern string) bool {
	service, _, ok := strings.Cut(pattern, ":")
	return ok && (service == "imds" || service == serviceEKS || service == serviceSTS)
}

// admit decides about a call. A latency is that of the action, or of its whole service ("imds:*").
func (t *sideTraffic) admit(action, source string, latency map[string]pacing.Distribution, now time.Time) pacing.Verdict {
	d, ok := latency[action]
	if !ok {
		service, _, _ := strings.Cut(action, ":")
		d = latency[service+":*"]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	gate := pacing.Gate{Latency: map[string]pacing.Distribution{action: d}, Faults: t.faults}
	v := gate.Admit(pacing.Call{Source: source, Action: action}, now, t.rng)
	t.faults = gate.Faults
	return v
}

func (t *sideTraffic) count(action, source, outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log.Count(action, source, outcome)
}

// fault is an injected error.
type fault struct {
	status        int
	code, message string
}

// serveSide paces a call to something that is not EC2, serves it and counts it. Answer returns the call's outcome.
func (s *Server) serveSide(w http.ResponseWriter, r *http.Request, action, source string,
	refuse func(fault), answer func(http.ResponseWriter) string,
) {
	v := s.side.admit(action, source, s.sim.Settings().Latency, time.Now())
	s.side.count(action, source, play(w, r, v, refuse, answer))
}

// play lets a verdict take effect and returns the call's outcome.
func play(w http.ResponseWriter, r *http.Request, v pacing.Verdict, refuse func(fault), answer func(http.ResponseWriter) string) string {
	switch {
	case !wait(r, v.Delay) || v.DropRequest:
		reset(w)
		return "dropped"
	case v.Code != "":
		refuse(fault{v.Status, v.Code, v.Message})
		return v.Code
	case v.DropResponse: // the effect takes place, its answer is lost
		outcome := answer(nowhere{})
		reset(w)
		return outcome
	case v.Garbage != "":
		outcome := answer(nowhere{})
		_, _ = w.Write([]byte(v.Garbage)) // the client may have gone
		return outcome
	}
	return answer(w)
}

// nowhere is a response that nobody reads.
type nowhere struct{}

// Header implements http.ResponseWriter.
func (nowhere) Header() http.Header { return make(http.Header) }

// Write implements http.ResponseWriter.
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (nowhere) WriteHeader(int) {}
