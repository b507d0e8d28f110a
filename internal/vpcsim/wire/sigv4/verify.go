package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Reason says why a request was not accepted. Each service has its own error code for it.
type Reason string

// The reasons.
const (
	Missing    Reason = "missing"     // the request is not signed
	Malformed  Reason = "malformed"   // the signature cannot be read
	UnknownKey Reason = "unknown-key" // nobody has this access key, or the session token is not the key's
	Mismatch   Reason = "mismatch"    // the signature is not the key's
	Skewed     Reason = "skewed"      // signed too long ago, or in the future
	Expired    Reason = "expired"     // the credentials have ended
)

// Error is a refusal.
type Error struct {
	Reason Reason
	Detail string
}

// Error implements error.
func (e *Error) Error() string { return "signature " + string(e.Reason) + ": " + e.Detail }

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	maxSkew    = 5 * time.Minute
	maxPresign = 7 * 24 * time.Hour
)

// Signature is what a request says about its signer, not verified.
type Signature struct {
	AccessKey, Region, Service string

	signedHeaders []string
	signature     string
	at            time.Time
	token         string
	presigned     bool
	expires       time.Duration
}

// Parse reads the signature of a request, in the header or the query form. The error is an *Error.
func Parse(r *http.Request) (Signature, error) {
	if auth := r.Header.Get("Authorization"); auth != "" {
		return parseHeader(auth, r)
	}
	if q := r.URL.Query(); q.Get("X-Amz-Algorithm") != "" {
		return parseQuery(q)
	}
	return Signature{}, &Error{Missing, "the request has no Authorization header"}
}

func parseHeader(auth string, r *http.Request) (Signature, error) {
	rest, ok := strings.CutPrefix(auth, algorithm+" ")
	if !ok {
		return Signature{}, &Error{Malformed, "the Authorization header does not begin with " + algorithm}
	}
	fields := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	return newSignature(fields["Credential"], fields["SignedHeaders"], fields["Signature"],
		r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token"))
}

func parseQuery(q url.Values) (Signature, error) {
	if q.Get("X-Amz-Algorithm") != algorithm {
		return Signature{}, &Error{Malformed, "X-Amz-Algorithm is not " + algorithm}
	}
	s, err := newSignature(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature"),
		q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token"))
	if err != nil {
		return s, err
	}
	s.presigned = true
	s.expires = 15 * time.Minute // botocore and aws-iam-authenticator leave it out at times
	if v := q.Get("X-Amz-Expires"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || time.Duration(n)*time.Second > maxPresign {
			return s, &Error{Malformed, "X-Amz-Expires is not between 0 and 604800"}
		}
		s.expires = time.Duration(n) * time.Second
	}
	return s, nil
}

func newSignature(credential, headers, signature, date, token string) (Signature, error) {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return Signature{}, &Error{Malformed, "the credential is not of the form key/date/region/service/aws4_request"}
	}
	at, err := time.Parse(timeFormat, date)
	if err != nil || at.Format("20060102") != scope[1] {
		return Signature{}, &Error{Malformed, "the date is missing or not that of the credential"}
	}
	if headers == "" || signature == "" {
		return Signature{}, &Error{Malformed, "the signature or the list of signed headers is missing"}
	}
	return Signature{
		AccessKey: scope[0], Region: scope[2], Service: scope[3],
		signedHeaders: strings.Split(headers, ";"), signature: signature, at: at, token: token,
	}, nil
}

// Verify checks a request's signature against the store and returns the signer's credential. Body is the whole body, which
// the caller has read. The error is an *Error.
func (s *Store) Verify(r *http.Request, body []byte) (Credential, error) {
	sig, err := Parse(r)
	if err != nil {
		return Credential{}, err
	}
	now := s.now()
	c, ok := s.Lookup(sig.AccessKey)
	if !ok || !hmac.Equal([]byte(c.SessionToken), []byte(sig.token)) {
		return Credential{}, &Error{UnknownKey, "access key " + sig.AccessKey + " is not known"}
	}
	if !c.Expires.IsZero() && !now.Before(c.Expires) {
		return Credential{}, &Error{Expired, "the credentials of " + sig.AccessKey + " ended at " + c.Expires.UTC().Format(time.RFC3339)}
	}
	if err := sig.checkTime(now); err != nil {
		return Credential{}, err
	}
	want, err := sig.sign(r, body, c)
	if err != nil {
		return Credential{}, &Error{Malformed, err.Error()}
	}
	if !hmac.Equal([]byte(want), []byte(sig.signature)) {
		return Credential{}, &Error{Mismatch, "the signature does not match that of access key " + sig.AccessKey}
	}
	return c, nil
}

func (sig Signature) checkTime(now time.Time) error {
	last := sig.at.Add(maxSkew)
	if sig.presigned {
		last = sig.at.Add(sig.expires)
	}
	if now.Before(sig.at.Add(-maxSkew)) || now.After(last) {
		return &Error{Skewed, fmt.Sprintf("signed at %s, it is now %s", sig.at.Format(timeFormat), now.UTC().Format(timeFormat))}
	}
	return nil
}

// sign signs a fresh request that holds nothing but what the client signed, and returns the signature.
func (sig Signature) sign(r *http.Request, body []byte, c Credential) (string, error) {
	u := *r.URL
	u.Scheme, u.Host = "http", r.Host
	fresh := &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: make(http.Header)}
	for _, name := range sig.signedHeaders {
		switch name {
		case "host":
		case "content-length":
			fresh.ContentLength = r.ContentLength
		default:
			for _, v := range r.Header.Values(name) {
				fresh.Header.Add(name, v)
			}
		}
	}
	hash := sha256.Sum256(body)
	payload := hex.EncodeToString(hash[:])
	creds := aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}
	if !sig.presigned {
		if err := v4.NewSigner().SignHTTP(r.Context(), creds, fresh, payload, sig.Service, sig.Region, sig.at); err != nil {
			return "", err
		}
		_, signature, _ := strings.Cut(fresh.Header.Get("Authorization"), "Signature=")
		return signature, nil
	}
	q := u.Query()
	for _, name := range []string{"Algorithm", "Credential", "Date", "SignedHeaders", "Signature", "Security-Token"} {
		q.Del("X-Amz-" + name)
	}
	u.RawQuery = q.Encode()
	signed, _, err := v4.NewSigner().PresignHTTP(r.Context(), creds, fresh, payload, sig.Service, sig.Region, sig.at)
	if err != nil {
		return "", err
	}
	su, err := url.Parse(signed)
	if err != nil {
		return "", err
	}
	return su.Query().Get("X-Amz-Signature"), nil
}
