package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

var signedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func hash(body string) string {
	h := sha256.Sum256([]byte(body))
	return hex.EncodeToString(h[:])
}

// headerRequest is a POST signed with the SDK's signer, as it arrives at a server.
func headerRequest(t *testing.T, c sigv4.Credential, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/clusters/a%2Fb?x=1&y=a%20b", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	creds := aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hash(body), "ec2", "us-west-2", signedAt); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "not signed")
	return r
}

func presignedRequest(t *testing.T, c sigv4.Credential, expires string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://sts.local/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires="+expires, nil)
	r.Header.Set("X-K8s-Aws-Id", "demo")
	creds := aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, hash(""), "sts", "us-west-2", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	out := httptest.NewRequest(http.MethodGet, signed, nil)
	out.Header.Set("X-K8s-Aws-Id", "demo")
	return out
}

func TestVerify(t *testing.T) {
	const body = "Action=DescribeVpcs&Version=2016-11-15"
	now := signedAt
	store := sigv4.NewStore(func() time.Time { return now })
	user := sigv4.Credential{AccessKey: "AKIAUSER", Secret: "s3cret", Account: "111122223333"}
	store.Add(user)
	role := store.Mint("111122223333", "node", "i-1", time.Hour)
	wrong := user
	wrong.Secret = "guess"
	stranger := sigv4.Credential{AccessKey: "AKIANOBODY", Secret: "x"}
	stolen := role
	stolen.SessionToken = "other"

	tests := []struct {
		name string
		req  *http.Request
		body string
		at   time.Duration
		want sigv4.Reason // empty: accepted
	}{
		{"user", headerRequest(t, user, body), body, 0, ""},
		{"role with session token", headerRequest(t, role, body), body, 0, ""},
		{"within the skew", headerRequest(t, user, body), body, 4 * time.Minute, ""},
		{"presigned", presignedRequest(t, role, "60"), "", 0, ""},
		{"presigned near its end", presignedRequest(t, user, "900"), "", 14 * time.Minute, ""},
		{"wrong secret", headerRequest(t, wrong, body), body, 0, sigv4.Mismatch},
		{"presigned with wrong secret", presignedRequest(t, wrong, "60"), "", 0, sigv4.Mismatch},
		{"changed body", headerRequest(t, user, body), body + "&DryRun=true", 0, sigv4.Mismatch},
		{"unknown key", headerRequest(t, stranger, body), body, 0, sigv4.UnknownKey},
		{"session token of another", headerRequest(t, stolen, body), body, 0, sigv4.UnknownKey},
		{"too old", headerRequest(t, user, body), body, 6 * time.Minute, sigv4.Skewed},
		{"from the future", headerRequest(t, user, body), body, -6 * time.Minute, sigv4.Skewed},
		{"presigned past its end", presignedRequest(t, user, "60"), "", 61 * time.Second, sigv4.Skewed},
		{"credentials ended", headerRequest(t, role, body), body, time.Hour, sigv4.Expired},
		{"unsigned", httptest.NewRequest(http.MethodPost, "/", nil), "", 0, sigv4.Missing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now = signedAt.Add(tt.at)
			c, err := store.Verify(tt.req, []byte(tt.body))
			var got sigv4.Reason
			if e, ok := errors.AsType[*sigv4.Error](err); ok {
				got = e.Reason
			}
			if got != tt.want {
				t.Fatalf("got %v, want reason %q", err, tt.want)
			}
			if err == nil && c.Account != "111122223333" {
				t.Errorf("signer %+v", c)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), role.Secret)) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestARN(t *testing.T) {
	for want, c := range map[string]sigv4.Credential{
		"arn:aws:sts::1:assumed-role/node/i-1": {Account: "1", Principal: "node", Session: "i-1"},
		"arn:aws:iam::1:user/ann":              {Account: "1", Principal: "ann"},
		"arn:aws:iam::1:root":                  {Account: "1"},
	} {
		if got := c.ARN(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzParse: no header and no query panics the parser, and nothing unsigned is accepted.
func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/20260304/r/s/aws4_request, SignedHeaders=host, Signature=0", "20260304T050607Z", "")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/aws4_request&X-Amz-Expires=x")
	f.Add("AWS4-HMAC-SHA256 ,,,=", "", "")
	store := sigv4.NewStore(func() time.Time { return signedAt })
	store.Add(sigv4.Credential{AccessKey: "a", Secret: "b"})
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(nil))
		r.URL.RawQuery = query
		r.Header["Authorization"] = []string{auth}
		r.Header["X-Amz-Date"] = []string{date}
		if c, err := store.Verify(r, nil); err == nil {
			t.Fatalf("accepted as %+v", c)
		}
	})
}
