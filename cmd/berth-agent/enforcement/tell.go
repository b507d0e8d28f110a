package enforcement

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/kube"
)

const (
	// tellEvery is how often the cluster is told what changed. Nodes begin at different times, since all see the same bad policy.
	tellEvery = 10 * time.Second
	// startFor is how long a start may take before the Node's condition says that policies are not known.
	startFor = 30 * time.Second
	// conditionType is the condition of the Node; True is the good state.
	conditionType = "BerthNetworkPolicy"
)

// tellCluster keeps the Node's condition, and says on policies what is wrong with them, until ctx ends. What is wrong with a policy is
// not the node's condition: all nodes would write theirs because of one, and each write of a Node goes to many.
func (e *Enforcement) tellCluster(ctx context.Context) error {
	var told []enforce.Trouble
	began, refused := time.Now(), ""
	for wait := time.Second + rand.N(tellEvery); ; wait = tellEvery { //nolint:gosec // nodes are spread by it
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		r, err := e.loop.Report(ctx)
		if err != nil {
			continue // it stops, or this does
		}
		for _, t := range r.Troubles {
			if !slices.Contains(told, t) {
				e.kube.PolicyEvent(policyOf(t), "PolicyNotAsWritten", t.Why)
			}
		}
		told = r.Troubles
		if c, ok := conditionOf(r, time.Since(began)); ok {
			e.kube.Condition(c)
			if r.Refused != "" && r.Refused != refused {
				e.kube.Event(kube.Event{Node: true, Warning: true, Reason: c.Reason, Message: c.Message, Action: "NetworkPolicy"})
			}
		}
		refused = r.Refused
	}
}

// policyOf is the object that an event is about.
func policyOf(t enforce.Trouble) kube.PolicyObject {
	o := kube.PolicyObject{Namespace: t.Namespace, Name: t.Name, UID: t.UID}
	for _, k := range kube.PolicyKinds() {
		if k.Name() == string(t.Kind) {
			o.Kind = k
		}
	}
	return o
}

// conditionOf is the Node's condition; false while there is nothing to say yet.
func conditionOf(r enforce.Report, running time.Duration) (kube.Condition, bool) {
	c := kube.Condition{Type: conditionType}
	switch {
	case r.Refused != "":
		c.Reason, c.Message = "PoliciesRefused", "the kernel refuses changes, what was in force stays, and pods that start wait: "+r.Refused
	case len(r.Missing) > 0 && running < startFor:
		return c, false
	case len(r.Missing) > 0:
		c.Reason, c.Message = "PoliciesUnknown", "the API server has not told of "+strings.Join(r.Missing, ", ")+"; what was in force stays, and pods that start wait"
	default:
		c.Status, c.Reason, c.Message = true, "PoliciesInForce", "what the API server has told is in force"
	}
	return c, true
}
