package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/run"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2api"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/internal/vpcsim/wire/imds"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
)

// Options say what is served besides EC2. The zero value serves an empty EKS, refuses web identities and trusts every
// caller.
type Options struct {
	Log *slog.Logger // default: none
	// Credentials are the keys that callers sign with. The server adds those of the roles that it hands out.
	Credentials *sigv4.Store
	// VerifySignatures refuses calls that are not signed with one of the Credentials.
	VerifySignatures bool
	EKS              eks.Backend
	WebIdentity      sts.TokenVerifier
}

// Server serves one simulated region. Make it with New.
type Server struct {
	sim         *vpcsim.Sim
	log         *slog.Logger
	credentials *sigv4.Store
	verify      atomic.Bool
	ec2         *ec2query.Mux
	eks         *eks.Service
	sts         *sts.Service
	control     http.Handler

	mu       sync.Mutex
	metadata map[vpc.InstanceID]http.Handler
}

// New returns a server over a simulator.
func New(sim *vpcsim.Sim, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Credentials == nil {
		o.Credentials = sigv4.NewStore(time.Now)
	}
	if o.EKS == nil {
		o.EKS = eks.NewMemory(sim.Now, 0)
	}
	s := &Server{
		sim: sim, log: o.Log, credentials: o.Credentials,
		ec2:      ec2api.New(sim),
		eks:      eks.New(o.EKS, time.Now),
		sts:      &sts.Service{Credentials: o.Credentials, Verifier: o.WebIdentity},
		metadata: make(map[vpc.InstanceID]http.Handler),
	}
	s.verify.Store(o.VerifySignatures)
	s.control = s.controlMux()
	return s
}

const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 5 * time.Minute
	maxBody       = 8 << 20
)

// ServeAPI serves EC2, EKS and STS until ctx ends. Callers that are not known by their signature are taken for who; its
// Source is that of every call that comes in here. On loopback the control endpoints are served too.
func (s *Server) ServeAPI(ctx context.Context, l net.Listener, who vpcsim.Caller) error {
	return s.serve(ctx, l, s.Handler(who), nil)
}

// ServeIMDS serves an instance's metadata until ctx ends. Whoever reaches the listener is the instance.
func (s *Server) ServeIMDS(ctx context.Context, l net.Listener, id vpc.InstanceID) error {
	return s.serve(ctx, l, s.MetadataHandler(id), imds.ConnContext)
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler, conn func(context.Context, net.Conn) context.Context) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, ConnContext: conn,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithValue(ctx, lifeKey{}, ctx) },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// lifeKey finds the context of the server's life in that of a request: waiting goes on when the client has hung up.
type lifeKey struct{}

func life(request context.Context) context.Context {
	if ctx, ok := request.Value(lifeKey{}).(context.Context); ok {
		return ctx
	}
	return context.WithoutCancel(request) // a server of somebody else's
}

// wait lets d pass, and tells whether the server is still there.
func wait(r *http.Request, d time.Duration) bool {
	ctx := life(r.Context())
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset ends the connection so that the client sees a reset, not an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server's way to drop a connection that cannot be taken over
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Handler serves EC2, EKS, STS and, on loopback, the control endpoints.
func (s *Server) Handler(who vpcsim.Caller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, controlPrefix) {
			s.serveControl(w, r)
			return
		}
		q := &apiRequest{Request: r, id: requestID(), who: who}
		w.Header().Set("X-Amzn-Requestid", q.id)
		w.Header().Set("Server", "AmazonEC2")
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "the body is too long or broken off", http.StatusBadRequest)
			return
		}
		q.body = body
		if q.form, err = parseForm(r, body); err != nil {
			q.service = serviceEC2
			s.answerError(w, q, http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error")
			return
		}
		q.service = serviceOf(r, q.form)
		if !s.authenticate(w, q) {
			return
		}
		switch q.service {
		case serviceEKS:
			s.serveEKS(w, q)
		case serviceSTS:
			s.serveSTS(r.Context(), w, q)
		default:
			s.serveEC2(r.Context(), w, q)
		}
	})
}

// apiRequest is a request to one of the services.
type apiRequest struct {
	*http.Request
	id      string
	service string
	body    []byte
	form    url.Values
	who     vpcsim.Caller
	signer  sigv4.Credential
}

const (
	serviceEC2 = "ec2"
	serviceEKS = "eks"
	serviceSTS = "sts"
)

// serviceOf tells the service by the scope of the signature, else by path and version.
func serviceOf(r *http.Request, form url.Values) string {
	if sig, err := sigv4.Parse(r); err == nil {
		switch sig.Service {
		case serviceEC2, serviceEKS, serviceSTS:
			return sig.Service
		}
	}
	switch {
	case eks.Owns(r.URL.Path):
		return serviceEKS
	case form.Get("Version") == sts.Version:
		return serviceSTS
	}
	return serviceEC2
}

func parseForm(r *http.Request, body []byte) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || eks.Owns(r.URL.Path) {
		return form, err
	}
	posted, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	for k, v := range posted {
		form[k] = append(form[k], v...)
	}
	return form, nil
}

func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (s *Server) serveEC2(ctx context.Context, w http.ResponseWriter, q *apiRequest) {
	action := q.form.Get("Action")
	admission := vpcsim.Admission{}
	if s.ec2.Has(action) {
		admission = s.sim.Admit(q.who, describeCall(action, q.form))
	}
	if !wait(q.Request, admission.Before) || admission.DropRequest {
		reset(w)
		return
	}
	if e := admission.Err; e != nil {
		s.logCall(q, action, e)
		s.answerError(w, q, e.Status, e.Code, e.Message)
		return
	}
	call := &ec2api.Call{Caller: q.who}
	body, status, err := s.ec2.Serve(ec2api.WithCall(ctx, call), q.form, q.id)
	if s.ec2.Has(action) && !call.Made {
		s.sim.CountCall(action, q.who.Source, outcome(err))
	}
	s.logCall(q, action, err)
	if !wait(q.Request, admission.After) || admission.DropResponse {
		reset(w)
		return
	}
	if admission.Garbage != "" {
		body, status = []byte(admission.Garbage), http.StatusOK
	}
	writeXML(w, status, body)
}

func (s *Server) serveSTS(ctx context.Context, w http.ResponseWriter, q *apiRequest) {
	s.serveSide(w, q.Request, "sts:"+q.form.Get("Action"), q.who.Source,
		func(e *vpcsim.APIError) { s.answerError(w, q, e.Status, e.Code, e.Message) },
		func(w http.ResponseWriter) string {
			body, status, err := s.sts.Serve(ctx, q.signer, q.form, q.id)
			writeXML(w, status, body)
			return outcome(err)
		})
}

func (s *Server) serveEKS(w http.ResponseWriter, q *apiRequest) {
	operation := eks.Operation(q.Method, q.URL.EscapedPath())
	s.serveSide(w, q.Request, "eks:"+operation, q.who.Source,
		func(e *vpcsim.APIError) { s.answerError(w, q, e.Status, e.Code, e.Message) },
		func(w http.ResponseWriter) string { return outcome(s.eks.Serve(w, q.Request, q.body)) })
}

func writeXML(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}

// answerError answers in the form of the request's service.
func (s *Server) answerError(w http.ResponseWriter, q *apiRequest, status int, code, message string) {
	switch q.service {
	case serviceEKS:
		eks.WriteError(w, &eks.Error{Status: status, Code: code, Message: message})
	case serviceSTS:
		writeXML(w, status, sts.EncodeError(&sts.Error{Status: status, Code: code, Message: message}, q.id))
	default:
		writeXML(w, status, ec2query.EncodeError(&ec2query.Error{Status: status, Code: code, Message: message}, q.id))
	}
}

func (s *Server) logCall(q *apiRequest, action string, err error) {
	if err != nil {
		s.log.Debug("call refused", run.KeyAction, action, run.KeyNode, q.who.Source, run.KeyErr, err)
		return
	}
	s.log.Debug("call served", run.KeyAction, action, run.KeyNode, q.who.Source)
}
