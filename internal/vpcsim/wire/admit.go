package wire

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim"
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

// serveSide paces a call to something that is not EC2, serves it and counts it. Answer returns the call's outcome.
func (s *Server) serveSide(w http.ResponseWriter, r *http.Request, action, source string,
	refuse func(*vpcsim.APIError), answer func(http.ResponseWriter) string,
) {
	a := s.sim.Admit(vpcsim.Caller{Source: source}, vpcsim.Request{Action: action})
	if outcome := play(w, r, a, refuse, answer); outcome != "" {
		s.sim.CountCall(action, source, outcome)
	}
}

// play lets an admission take effect and returns the call's outcome, or nothing for a call without effect.
func play(w http.ResponseWriter, r *http.Request, a vpcsim.Admission, refuse func(*vpcsim.APIError), answer func(http.ResponseWriter) string) string {
	switch {
	case !wait(r, a.Before+a.After) || a.DropRequest:
		reset(w)
		return ""
	case a.Err != nil:
		refuse(a.Err)
		return ""
	case a.DropResponse: // the effect takes place, its answer is lost
		outcome := answer(nowhere{})
		reset(w)
		return outcome
	case a.Garbage != "":
		outcome := answer(nowhere{})
		_, _ = w.Write([]byte(a.Garbage)) // the client may have gone
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
