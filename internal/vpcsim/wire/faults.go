package wire

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
)

// StaleMetadata is the code of a fault that makes the metadata service answer as it would have when the fault first hit.
const StaleMetadata = "Stale"

// The metadata service's actions.
const (
	getMetadata      = "imds:Get"
	putMetadataToken = "imds:PutToken"
)

func (s *Server) addFault(w http.ResponseWriter, r *http.Request) error {
	var f pacing.Fault
	if err := read(w, r, &f); err != nil {
		return err
	}
	if err := s.checkFault(f, s.sim.Now()); err != nil {
		return err
	}
	return reply(w, map[string]int{"id": s.AddFault(f)})
}

// checkFault refuses a fault that could not do what its writer thinks: the action's name is misspelt, or nothing happens.
func (s *Server) checkFault(f pacing.Fault, now time.Time) error {
	switch {
	case f.Action != "" && !slices.ContainsFunc(s.actions(), func(a string) bool { return ec2.Match(f.Action, a) }):
		return fmt.Errorf("add fault: no action is called %q; those of other services than EC2 are written imds:Get, eks:* or sts:*", f.Action)
	case f.Code == "" && f.Delay == 0 && !f.DropRequest && !f.DropResponse && f.Garbage == "":
		return errors.New("add fault: it does nothing; give a code, a delay, dropRequest, dropResponse or garbage")
	case f.Share < 0 || f.Share > 1:
		return fmt.Errorf("add fault: a share is between 0 and 1, not %v", f.Share)
	case f.Count < 0 || f.Delay < 0:
		return errors.New("add fault: count and delay cannot be negative")
	case !f.Until.IsZero() && !now.Before(f.Until):
		return fmt.Errorf("add fault: it would end at %s, which is over", f.Until)
	case f.Code == StaleMetadata && !ec2.Match(f.Action, getMetadata):
		return fmt.Errorf("add fault: only %s can be stale", getMetadata)
	}
	return nil
}

// actions are the names under which calls are paced and counted.
func (s *Server) actions() []string {
	out := append(s.ec2.Operations(), getMetadata, putMetadataToken)
	for _, name := range eks.Operations() {
		out = append(out, serviceEKS+":"+name)
	}
	for _, name := range sts.Operations() {
		out = append(out, serviceSTS+":"+name)
	}
	return out
}
