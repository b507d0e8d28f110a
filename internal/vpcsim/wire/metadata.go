package wire

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/imds"
)

// MetadataHandler serves an instance's metadata. There is one per instance, however many listeners it has.
func (s *Server) MetadataHandler(id vpc.InstanceID) http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.metadata[id]; h != nil {
		return h
	}
	maps.DeleteFunc(s.metadata, func(other vpc.InstanceID, _ http.Handler) bool {
		_, exists := s.sim.Metadata(other)
		return !exists // of a lab that runs for long, most are gone
	})
	m := &metadataServer{server: s, id: id}
	m.service = imds.New(m.current, s.credentials, time.Now)
	s.metadata[id] = m
	return m
}

// metadataServer paces an instance's metadata service.
type metadataServer struct {
	server  *Server
	id      vpc.InstanceID
	service *imds.Service

	mu     sync.Mutex
	frozen *vpcsim.Metadata // what a stale service shows
}

func (m *metadataServer) current() (vpcsim.Metadata, bool) {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		return *frozen, true
	}
	return m.server.sim.Metadata(m.id)
}

// freeze keeps what the service shows now, or goes back to the present.
func (m *metadataServer) freeze(stale bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !stale:
		m.frozen = nil
	case m.frozen == nil:
		if now, ok := m.server.sim.Metadata(m.id); ok {
			m.frozen = &now
		}
	}
}

// ServeHTTP implements http.Handler.
func (m *metadataServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action, source := getMetadata, "node:"+string(m.id)
	if r.Method == http.MethodPut {
		action = putMetadataToken
	}
	s := m.server
	a := s.sim.Admit(vpcsim.Caller{Source: source}, vpcsim.Request{Action: action})
	stale := a.Err != nil && a.Err.Code == StaleMetadata
	if r.Method != http.MethodPut {
		m.freeze(stale)
	}
	if stale { // counted as such
		a.Err = nil
	}
	refuse := func(e *vpcsim.APIError) { http.Error(w, e.Message, e.Status) }
	outcome := play(w, r, a, refuse, func(to http.ResponseWriter) string {
		recorded := &statusWriter{ResponseWriter: to}
		m.service.ServeHTTP(recorded, r)
		return recorded.outcome()
	})
	if outcome != "" && !stale {
		s.sim.CountCall(action, source, outcome)
	}
}

// statusWriter remembers the status that was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) outcome() string {
	if w.status == 0 || w.status == http.StatusOK {
		return "ok"
	}
	return strconv.Itoa(w.status)
}
