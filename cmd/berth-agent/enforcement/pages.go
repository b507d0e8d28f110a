package enforcement

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/names"
	"github.com/berth-net/berth/internal/core/policy/reach"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// MapsPath is the page that says what the maps say of a connection of a pod of this node:
// ?namespace=x&pod=y&direction=ingress|egress&address=10.0.0.1&protocol=tcp&port=80, where address is the other side's.
const MapsPath = "/v1/policy"

// DomainsPath is the page that says what domains of policies stand for on this node: JSON, a list of names with an address and its end.
const DomainsPath = "/v1/policy/domains"

// MapsAnswer is what MapsPath says.
type MapsAnswer struct {
	Interface string `json:"interface"` // the host's end of the pod's link
	Slot      uint32 `json:"slot"`
	Allowed   bool   `json:"allowed"`
	By        string `json:"by"`
}

// Pages adds MapsPath and DomainsPath to pages that only this node may read: they name pods and what these talk to.
func (e *Enforcement) Pages(others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var (
			answer any
			code   int
			err    error
		)
		switch {
		case r.Method == http.MethodGet && r.URL.Path == MapsPath:
			answer, code, err = e.ask(r)
		case r.Method == http.MethodGet && r.URL.Path == DomainsPath:
			code = http.StatusServiceUnavailable
			answer, err = e.domains(r)
		default:
			others.ServeHTTP(w, r)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // who has asked is gone
	})
}

var errOff = errors.New("network policy is off on this node: set ENABLE_NETWORK_POLICY=true")

func (e *Enforcement) domains(r *http.Request) ([]names.Record, error) {
	if e == nil {
		return nil, errOff
	}
	known, _, err := e.loop.Names(r.Context())
	return known.Records, err
}

func (e *Enforcement) ask(r *http.Request) (MapsAnswer, int, error) {
	q := r.URL.Query()
	other, err := netip.ParseAddr(q.Get("address"))
	if err != nil {
		return MapsAnswer{}, http.StatusBadRequest, fmt.Errorf("address: %w", err)
	}
	protocol, err := reach.ProtocolOf(q.Get("protocol"))
	if err != nil {
		return MapsAnswer{}, http.StatusBadRequest, fmt.Errorf("protocol: %w", err)
	}
	port, err := strconv.ParseUint(q.Get("port"), 10, 16)
	if err != nil {
		return MapsAnswer{}, http.StatusBadRequest, fmt.Errorf("port: %w", err)
	}
	direction := bpf.Ingress
	switch q.Get("direction") {
	case policy.Ingress.String():
	case policy.Egress.String():
		direction = bpf.Egress
	default:
		return MapsAnswer{}, http.StatusBadRequest, errors.New("direction: want ingress or egress")
	}
	if e == nil {
		return MapsAnswer{}, http.StatusServiceUnavailable, errOff
	}
	name := hostnet.VethName(e.prefix, q.Get("namespace"), q.Get("pod"))
	link, err := net.InterfaceByName(name)
	if err != nil {
		return MapsAnswer{}, http.StatusNotFound, fmt.Errorf("pod %s/%s is not on this node: there is no interface %s", q.Get("namespace"), q.Get("pod"), name)
	}
	slots, err := e.datapath.Interfaces()
	if err != nil {
		return MapsAnswer{}, http.StatusServiceUnavailable, err
	}
	slot, ok := slots[link.Index]
	if !ok {
		return MapsAnswer{Interface: name, Allowed: true, By: "no program is on the interface"}, 0, nil
	}
	v, err := e.datapath.Ask(slot, direction, other.Unmap(), tables.Key(uint8(protocol), uint16(port)))
	if err != nil {
		return MapsAnswer{}, http.StatusServiceUnavailable, err
	}
	pod, err := e.datapath.Pod(slot)
	if err != nil {
		return MapsAnswer{}, http.StatusServiceUnavailable, err
	}
	set := pod.Ingress
	if direction == bpf.Egress {
		set = pod.Egress
	}
	by, err := e.loop.Decider(r.Context(), v, set)
	if err != nil {
		return MapsAnswer{}, http.StatusServiceUnavailable, err
	}
	return MapsAnswer{Interface: name, Slot: slot, Allowed: v.Allow, By: by}, 0, nil
}
