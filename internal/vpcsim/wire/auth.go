package wire

import (
	"errors"
	"net/http"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
)

// authenticate finds out who makes a call. While signatures are verified, a call that is not signed well is answered here
// and false is returned. Otherwise a known access key is believed, and an unknown one stands for the listener's caller.
func (s *Server) authenticate(w http.ResponseWriter, q *apiRequest) bool {
	if q.service == serviceSTS && sts.Unsigned(q.form.Get("Action")) {
		return true
	}
	q.signer = sigv4.Credential{Account: q.who.Account, Principal: q.who.Principal, AccessKey: q.who.AccessKey}
	if s.verify.Load() {
		c, err := s.credentials.Verify(q.Request, q.body)
		if err != nil {
			status, code, message := refusal(q.service, err)
			s.logCall(q, q.form.Get("Action"), err)
			s.answerError(w, q, status, code, message)
			return false
		}
		q.identify(c)
		return true
	}
	if sig, err := sigv4.Parse(q.Request); err == nil {
		if c, ok := s.credentials.Lookup(sig.AccessKey); ok {
			q.identify(c)
		}
	}
	return true
}

// identify makes the owner of a credential the caller. A key without a principal is the account's own, which the simulator
// knows by having neither principal nor key.
func (q *apiRequest) identify(c sigv4.Credential) {
	q.signer = c
	q.who = vpcsim.Caller{Account: c.Account, Principal: c.Principal, Source: q.who.Source}
	if c.Principal != "" {
		q.who.AccessKey = c.AccessKey
	}
}

// answerTo is how a service refuses.
type answerTo struct {
	status        int
	code, message string
}

// refusals by service and reason. EC2 answers AuthFailure for most of them, and says nothing more.
var refusals = map[string]map[sigv4.Reason]answerTo{
	serviceEC2: {
		sigv4.Missing:    {401, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		sigv4.Malformed:  {400, "IncompleteSignature", "The request signature does not conform to AWS standards."},
		sigv4.UnknownKey: {401, "AuthFailure", "AWS was not able to validate the provided access credentials"},
		sigv4.Mismatch:   {401, "AuthFailure", "AWS was not able to validate the provided access credentials"},
		sigv4.Skewed:     {400, "RequestExpired", "Request has expired."},
		sigv4.Expired:    {400, "RequestExpired", "Request has expired."},
	},
	serviceSTS: {
		sigv4.Missing:    {403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		sigv4.Malformed:  {400, "IncompleteSignature", "The request signature does not conform to AWS standards."},
		sigv4.UnknownKey: {403, "InvalidClientTokenId", "The security token included in the request is invalid."},
		sigv4.Mismatch:   {403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."},
		sigv4.Skewed:     {403, "SignatureDoesNotMatch", "Signature expired"},
		sigv4.Expired:    {403, "ExpiredToken", "The security token included in the request is expired"},
	},
	serviceEKS: {
		sigv4.Missing:    {403, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		sigv4.Malformed:  {400, "IncompleteSignatureException", "The request signature does not conform to AWS standards."},
		sigv4.UnknownKey: {403, "UnrecognizedClientException", "The security token included in the request is invalid."},
		sigv4.Mismatch:   {403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided."},
		sigv4.Skewed:     {403, "InvalidSignatureException", "Signature expired"},
		sigv4.Expired:    {403, "ExpiredTokenException", "The security token included in the request is expired"},
	},
}

func refusal(service string, err error) (status int, code, message string) {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return http.StatusInternalServerError, "InternalError", err.Error()
	}
	a := refusals[service][e.Reason]
	return a.status, a.code, a.message
}

// outcome names the result of a call for the call log.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*eks.Error](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*sts.Error](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*ec2query.Error](err); ok {
		return e.Code
	}
	return "error"
}
