package wire_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire"
	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
)

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request and reads the whole answer.
func send(t *testing.T, r *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func TestSignatures(t *testing.T) {
	w := start(t, vpcsim.Options{})
	w.control(t, http.MethodPut, "signatures", `{"verify":true}`, nil)
	role := w.store.Mint(account, "node", "i-1", time.Hour)
	describe := func(key, secret, token string) string {
		c := w.client(key, secret, token)
		_, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		return fmt.Sprintf("%d %s", statusOf(err), codeOf(err))
	}
	got := []string{
		describe("AKIAOPERATOR", "secret", ""),
		describe(role.AccessKey, role.Secret, role.SessionToken),
		describe("AKIAOPERATOR", "guess", ""),
		describe("AKIASTRANGER", "secret", ""),
		describe(role.AccessKey, role.Secret, "other"),
	}
	want := []string{"200 ok", "200 ok", "401 AuthFailure", "401 AuthFailure", "401 AuthFailure"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct{ name, method, path, body, want string }{
		{"ec2 unsigned", "POST", "/", "Action=DescribeVpcs&Version=2016-11-15", "401 MissingAuthenticationToken"},
		{"sts unsigned", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", "403 MissingAuthenticationToken"},
		{"eks unsigned", "GET", "/clusters", "", "403 MissingAuthenticationTokenException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, w.url+tt.path, strings.NewReader(tt.body))
			must(t, err)
			resp := send(t, r)
			code := resp.header.Get("X-Amzn-Errortype")
			if _, rest, ok := strings.Cut(resp.body, "<Code>"); ok {
				code, _, _ = strings.Cut(rest, "<")
			}
			if got := fmt.Sprintf("%d %s", resp.status, code); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if resp.header.Get("X-Amzn-Requestid") == "" {
				t.Error("no request id")
			}
		})
	}
}

// callerIdentity calls STS by a presigned URL, as an EKS token does.
func (w *world) callerIdentity(t *testing.T, creds aws.Credentials) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	must(t, err)
	r.Header.Set("X-K8s-Aws-Id", "demo")
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, emptyHash, "sts", region, time.Now())
	must(t, err)
	r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, signed, nil)
	must(t, err)
	r.Header.Set("X-K8s-Aws-Id", "demo")
	body := send(t, r).body
	var out struct {
		Arn string `xml:"GetCallerIdentityResult>Arn"`
	}
	must(t, xml.Unmarshal([]byte(body), &out))
	return out.Arn
}

type verifier struct{}

func (verifier) VerifyWebIdentity(_ context.Context, token, _ string) (sts.WebIdentity, error) {
	if token != "good" {
		return sts.WebIdentity{}, errors.New("the token is not the cluster's")
	}
	return sts.WebIdentity{Subject: "system:serviceaccount:kube-system:aws-node", Audience: "sts.amazonaws.com", Issuer: "https://oidc"}, nil
}

// TestWebIdentity exchanges a service account's token for a role's credentials and signs with them.
func TestWebIdentity(t *testing.T) {
	w := start(t, vpcsim.Options{})
	w.server = wire.New(w.sim, wire.Options{Credentials: w.store, WebIdentity: verifier{}, VerifySignatures: true})
	w.url = serveTest(t, w.server)
	assume := func(token string) (string, aws.Credentials) {
		form := url.Values{
			"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleSessionName": {"pod"}, "WebIdentityToken": {token},
			"RoleArn": {"arn:aws:iam::111122223333:role/path/cni"},
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url, strings.NewReader(form.Encode()))
		must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		body := send(t, r).body
		var out struct {
			Code  string `xml:"Error>Code"`
			Creds struct {
				AccessKeyId, SecretAccessKey, SessionToken string
			} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
		}
		must(t, xml.Unmarshal([]byte(body), &out))
		return out.Code, aws.Credentials{AccessKeyID: out.Creds.AccessKeyId, SecretAccessKey: out.Creds.SecretAccessKey, SessionToken: out.Creds.SessionToken}
	}
	if code, _ := assume("forged"); code != "AccessDenied" {
		t.Errorf("a forged token: %q", code)
	}
	code, creds := assume("good")
	if code != "" {
		t.Fatal(code)
	}
	if got, want := w.callerIdentity(t, creds), "arn:aws:sts::111122223333:assumed-role/cni/pod"; got != want {
		t.Errorf("identity %s, want %s", got, want)
	}
}
