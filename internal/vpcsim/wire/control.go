package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

const controlPrefix = "/_berth/"

// controlMux serves what an operator of the simulation may do while it runs. Everything is JSON; durations are nanoseconds.
//
//	GET    faults               the faults in force
//	POST   faults               add a fault; answers {"id": n}
//	DELETE faults, faults/{id}  end all, or one
//	POST   marks/{name}         name this moment in the call log
//	GET    calls?mark=name      calls per action, caller and outcome since then, or since the start
//	GET    settings             latency, lag, throttling, quotas
//	PUT    settings             replace them; PATCH changes the members that are given
//	GET    snapshot             the whole state; PUT loads one
//	GET    topology             the world as packets meet it
//	GET    signatures           {"verify": bool}; PUT changes it
func (s *Server) controlMux() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
			}
		})
	}
	handle("GET "+controlPrefix+"faults", func(w http.ResponseWriter, _ *http.Request) error { return reply(w, s.sim.Faults()) })
	handle("POST "+controlPrefix+"faults", s.addFault)
	handle("DELETE "+controlPrefix+"faults", s.clearFaults)
	handle("DELETE "+controlPrefix+"faults/{id}", s.clearFaults)
	handle("POST "+controlPrefix+"marks/{name}", s.mark)
	handle("GET "+controlPrefix+"calls", s.calls)
	handle("GET "+controlPrefix+"settings", func(w http.ResponseWriter, _ *http.Request) error { return reply(w, s.sim.Settings()) })
	handle("PUT "+controlPrefix+"settings", s.putSettings)
	handle("PATCH "+controlPrefix+"settings", s.putSettings)
	handle("GET "+controlPrefix+"snapshot", s.getSnapshot)
	handle("PUT "+controlPrefix+"snapshot", s.putSnapshot)
	handle("GET "+controlPrefix+"topology", func(w http.ResponseWriter, _ *http.Request) error { return reply(w, s.sim.Topology()) })
	handle("GET "+controlPrefix+"signatures", func(w http.ResponseWriter, _ *http.Request) error {
		return reply(w, signatures{s.verify.Load()})
	})
	handle("PUT "+controlPrefix+"signatures", s.putSignatures)
	return m
}

// serveControl lets only programs on this machine in, and of those no web page that was led here by a name.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !loopback(local.String()) || !loopback(r.RemoteAddr) || !loopback(r.Host) || r.Header.Get("Origin") != "" {
		http.Error(w, "the control endpoints are for programs on this machine", http.StatusForbidden)
		return
	}
	s.control.ServeHTTP(w, r)
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

const maxControlBody = 256 << 20 // a snapshot of a large fleet

// read decodes a request's body into v. A member that v does not have is a mistake of the writer's.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// AddFault adds a fault and returns its id.
func (s *Server) AddFault(f pacing.Fault) int { return s.sim.AddFault(f) }

func (s *Server) clearFaults(w http.ResponseWriter, r *http.Request) error {
	id := 0
	if text := r.PathValue("id"); text != "" {
		var err error
		if id, err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	s.sim.ClearFault(id)
	return reply(w, struct{}{})
}

func (s *Server) mark(w http.ResponseWriter, r *http.Request) error {
	s.Mark(r.PathValue("name"))
	return reply(w, struct{}{})
}

// Mark names this moment in the log of calls to all services.
func (s *Server) Mark(name string) { s.sim.Mark(name) }

// Calls counts the calls to all services since a mark, or since the start; false when there is no such mark.
func (s *Server) Calls(mark string) ([]pacing.CallCount, bool) { return s.sim.Calls(mark) }

func (s *Server) calls(w http.ResponseWriter, r *http.Request) error {
	mark := r.URL.Query().Get("mark")
	counts, ok := s.Calls(mark)
	if !ok {
		http.Error(w, "no mark "+strconv.Quote(mark), http.StatusNotFound)
		return nil
	}
	return reply(w, counts)
}

func (s *Server) putSettings(w http.ResponseWriter, r *http.Request) error {
	var v vpcsim.Settings
	if r.Method == http.MethodPatch {
		v = s.sim.Settings()
	}
	if err := read(w, r, &v); err != nil {
		return err
	}
	s.sim.SetSettings(v)
	return reply(w, s.sim.Settings())
}

func (s *Server) getSnapshot(w http.ResponseWriter, _ *http.Request) error {
	b, err := s.sim.Snapshot()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(b)
	return err
}

func (s *Server) putSnapshot(w http.ResponseWriter, r *http.Request) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err != nil {
		return err
	}
	if err := s.sim.Restore(b); err != nil {
		return err
	}
	return reply(w, struct{}{})
}

// signatures is the switch of signature verification.
type signatures struct {
	Verify bool `json:"verify"`
}

func (s *Server) putSignatures(w http.ResponseWriter, r *http.Request) error {
	var v signatures
	if err := read(w, r, &v); err != nil {
		return err
	}
	s.verify.Store(v.Verify)
	return reply(w, v)
}
