// Package sts answers the part of the Security Token Service that a cluster needs: GetCallerIdentity, which presigned EKS
// tokens call too, and AssumeRoleWithWebIdentity, which gives a pod's service account the credentials of a role (IRSA).
//
// It verifies no token itself: whoever runs the cluster supplies the verifier. Without one, no web identity is accepted.
package sts

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

// Version is the API version that tells STS requests from those of EC2.
const Version = "2011-06-15"

const namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// WebIdentity is what a verified token says.
type WebIdentity struct {
	Subject, Audience, Issuer string
}

// TokenVerifier checks a service account's token, and that the role's trust policy accepts it.
type TokenVerifier interface {
	VerifyWebIdentity(ctx context.Context, token, roleARN string) (WebIdentity, error)
}

// Service answers STS requests.
type Service struct {
	Credentials *sigv4.Store
	Verifier    TokenVerifier // nil refuses every token
}

// Error is an STS error as it goes over the wire.
type Error struct {
	Status        int
	Code, Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Caller is who signed the request; the zero value with an Account stands for the account itself.
type Caller = sigv4.Credential

// Unsigned tells whether an action needs no signature: the token stands in for it.
func Unsigned(action string) bool { return action == "AssumeRoleWithWebIdentity" }

// Operations are the names of the actions.
func Operations() []string { return []string{"GetCallerIdentity", "AssumeRoleWithWebIdentity"} }

// Serve runs the action that a form names. The error, if any, is in the body already.
func (s *Service) Serve(ctx context.Context, caller Caller, form url.Values, requestID string) (body []byte, status int, err error) {
	var result any
	switch action := form.Get("Action"); action {
	case "GetCallerIdentity":
		result = callerIdentity(caller)
	case "AssumeRoleWithWebIdentity":
		var e *Error
		if result, e = s.assumeRoleWithWebIdentity(ctx, form); e != nil {
			return EncodeError(e, requestID), e.Status, e
		}
	default:
		e := &Error{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action + " for version " + Version}
		return EncodeError(e, requestID), e.Status, e
	}
	return encode(form.Get("Action"), result, requestID), http.StatusOK, nil
}

type getCallerIdentityResult struct {
	Arn     string
	UserId  string
	Account string
}

func callerIdentity(c Caller) getCallerIdentityResult {
	id := string(c.Account)
	switch {
	case c.Session != "":
		id = roleID(c.Principal) + ":" + c.Session
	case c.Principal != "":
		id = c.AccessKey
	}
	return getCallerIdentityResult{Arn: c.ARN(), UserId: id, Account: string(c.Account)}
}

// roleID is a role's unique id, stable because it is made from the name.
func roleID(role string) string {
	const size = 17
	id := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToUpper(role))
	return "AROA" + (id + strings.Repeat("0", size))[:size]
}

type assumeRoleWithWebIdentityResult struct {
	AssumedRoleUser             assumedRoleUser
	Audience                    string
	Credentials                 credentials
	Provider                    string
	SubjectFromWebIdentityToken string
}

type assumedRoleUser struct {
	Arn           string
	AssumedRoleId string
}

type credentials struct {
	AccessKeyId     string
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws:iam::(\d{12}):role/(?:.*/)?([\w+=,.@-]{1,64})$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

const (
	leastSession   = 15 * time.Minute
	mostSession    = 12 * time.Hour
	defaultSession = time.Hour
)

func (s *Service) assumeRoleWithWebIdentity(ctx context.Context, form url.Values) (*assumeRoleWithWebIdentityResult, *Error) {
	role, session, token := form.Get("RoleArn"), form.Get("RoleSessionName"), form.Get("WebIdentityToken")
	arn := roleARN.FindStringSubmatch(role)
	lifetime, ok := duration(form.Get("DurationSeconds"))
	switch {
	case arn == nil:
		return nil, &Error{http.StatusBadRequest, "ValidationError", role + " is invalid"}
	case !sessionName.MatchString(session):
		return nil, &Error{http.StatusBadRequest, "ValidationError", "Value at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]{2,64}"}
	case !ok:
		return nil, &Error{http.StatusBadRequest, "ValidationError", "Value at 'durationSeconds' must be between 900 and 43200"}
	case token == "":
		return nil, &Error{http.StatusBadRequest, "ValidationError", "Value at 'webIdentityToken' must not be empty"}
	case s.Verifier == nil:
		return nil, &Error{http.StatusBadRequest, "InvalidIdentityToken", "No OpenIDConnect provider found in your account"}
	}
	id, err := s.Verifier.VerifyWebIdentity(ctx, token, role)
	if err != nil {
		return nil, &Error{http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity: " + err.Error()}
	}
	c := s.Credentials.Mint(vpc.AccountID(arn[1]), arn[2], session, lifetime)
	return &assumeRoleWithWebIdentityResult{
		AssumedRoleUser: assumedRoleUser{Arn: c.ARN(), AssumedRoleId: roleID(c.Principal) + ":" + session},
		Audience:        id.Audience,
		Provider:        id.Issuer,
		Credentials: credentials{
			AccessKeyId: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken,
			Expiration: c.Expires.UTC().Format(time.RFC3339),
		},
		SubjectFromWebIdentityToken: id.Subject,
	}, nil
}

func duration(seconds string) (time.Duration, bool) {
	if seconds == "" {
		return defaultSession, true
	}
	n, err := strconv.Atoi(seconds)
	d := time.Duration(n) * time.Second
	return d, err == nil && n <= int(mostSession/time.Second) && d >= leastSession
}

// encode writes the answer to an action, in the form of the query protocol that STS speaks: members below a Result.
func encode(action string, result any, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString(`<` + action + `Response xmlns="` + namespace + `">`)
	enc := xml.NewEncoder(&b)
	// Encoding structures of strings into memory does not fail.
	_ = enc.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}})
	b.WriteString(`<ResponseMetadata><RequestId>` + requestID + `</RequestId></ResponseMetadata></` + action + `Response>`)
	return b.Bytes()
}

// EncodeError writes an error answer.
func EncodeError(e *Error, requestID string) []byte {
	kind := "Sender"
	if e.Status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	var b bytes.Buffer
	b.WriteString(`<ErrorResponse xmlns="` + namespace + `"><Error><Type>` + kind + `</Type><Code>` + e.Code + `</Code><Message>`)
	_ = xml.EscapeText(&b, []byte(e.Message))
	b.WriteString(`</Message></Error><RequestId>` + requestID + `</RequestId></ErrorResponse>`)
	return b.Bytes()
}
