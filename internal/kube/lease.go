package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// microTime is how the API writes times of a lease.
const microTime = "2006-01-02T15:04:05.000000Z07:00"

// Lease is what a Lease object says. Times are its holder's.
type Lease struct {
	Holder      string
	Duration    time.Duration
	Acquired    time.Time
	Renewed     time.Time
	Transitions int
	Version     string // of the object that was read
}

// lease is a Lease object.
type lease struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Holder      string `json:"holderIdentity"`
		Seconds     int    `json:"leaseDurationSeconds,omitempty"`
		Acquired    string `json:"acquireTime,omitempty"`
		Renewed     string `json:"renewTime,omitempty"`
		Transitions int    `json:"leaseTransitions"`
	} `json:"spec"`
}

func (l lease) lease() Lease {
	at := func(text string) time.Time {
		t, _ := time.Parse(microTime, text) // nobody decides by it
		return t
	}
	s := l.Spec
	return Lease{
		Holder: s.Holder, Duration: time.Duration(s.Seconds) * time.Second, Acquired: at(s.Acquired), Renewed: at(s.Renewed),
		Transitions: s.Transitions, Version: l.Metadata.ResourceVersion,
	}
}

// ReadLease reads the lease that replicas compete for.
func (o *Observer) ReadLease(ctx context.Context) (Lease, error) {
	return o.lease(ctx, apiserver.Get(o.leasePath()))
}

// WriteLease writes it on top of the version that was read; it fails when somebody has written meanwhile. Labels and
// annotations stay.
func (o *Observer) WriteLease(ctx context.Context, l Lease) (Lease, error) {
	var body lease
	body.Metadata.ResourceVersion = l.Version
	body.Spec.Holder, body.Spec.Transitions = l.Holder, l.Transitions
	body.Spec.Seconds = max(int(l.Duration/time.Second), 1)
	body.Spec.Acquired, body.Spec.Renewed = l.Acquired.UTC().Format(microTime), l.Renewed.UTC().Format(microTime)
	return o.lease(ctx, apiserver.Request{Method: http.MethodPatch, Path: o.leasePath(), ContentType: apiserver.MergePatch, Body: body})
}

func (o *Observer) leasePath() string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + o.client.cfg.PodNamespace + "/leases/" + leaseName
}

func (o *Observer) lease(ctx context.Context, r apiserver.Request) (Lease, error) {
	a, err := o.client.server()
	if err != nil {
		return Lease{}, err
	}
	var l lease
	if err := a.Do(ctx, r, &l); err != nil {
		return Lease{}, fmt.Errorf("lease %s: %w", leaseName, ofChart(err))
	}
	return l.lease(), nil
}

// ofChart adds to an error about what the controller needs where that comes from.
func ofChart(err error) error {
	switch {
	case apiserver.IsStatus(err, http.StatusNotFound):
		return fmt.Errorf("%w; the chart makes it with controller.enabled=true: run helm upgrade", err)
	case apiserver.IsStatus(err, http.StatusForbidden):
		return fmt.Errorf("%w; the chart gives the right with controller.enabled=true: run helm upgrade", err)
	}
	return err
}
