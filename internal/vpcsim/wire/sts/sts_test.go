package sts_test

import (
	"context"
	"encoding/xml"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
)

type verifier struct{}

func (verifier) VerifyWebIdentity(_ context.Context, token, role string) (sts.WebIdentity, error) {
	if token != "good" || !strings.HasSuffix(role, "/cni") {
		return sts.WebIdentity{}, errors.New("no <trust>")
	}
	return sts.WebIdentity{Subject: "system:serviceaccount:a:b", Audience: "sts.amazonaws.com", Issuer: "https://oidc"}, nil
}

func TestGetCallerIdentity(t *testing.T) {
	s := &sts.Service{}
	tests := []struct {
		name   string
		caller sts.Caller
		want   string
	}{
		{"account", sts.Caller{Account: "1"}, "<Arn>arn:aws:iam::1:root</Arn><UserId>1</UserId><Account>1</Account>"},
		{"user", sts.Caller{Account: "1", Principal: "ann", AccessKey: "AK"}, "<Arn>arn:aws:iam::1:user/ann</Arn><UserId>AK</UserId><Account>1</Account>"},
		{
			"role",
			sts.Caller{Account: "1", Principal: "node-role", Session: "i-1"},
			"<Arn>arn:aws:sts::1:assumed-role/node-role/i-1</Arn><UserId>AROANODEROLE000000000:i-1</UserId><Account>1</Account>",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, status, err := s.Serve(t.Context(), tt.caller, url.Values{"Action": {"GetCallerIdentity"}}, "r")
			want := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` + tt.want +
				`</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
			if diff := cmp.Diff(want, string(body)); diff != "" || status != 200 || err != nil {
				t.Error(status, err, diff)
			}
		})
	}
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	store := sigv4.NewStore(func() time.Time { return now })
	request := func(change ...string) url.Values {
		v := url.Values{
			"Action": {"AssumeRoleWithWebIdentity"}, "RoleArn": {"arn:aws:iam::111122223333:role/cni"},
			"RoleSessionName": {"pod"}, "WebIdentityToken": {"good"}, "DurationSeconds": {"900"},
		}
		for i := 0; i < len(change); i += 2 {
			v.Set(change[i], change[i+1])
		}
		return v
	}
	tests := []struct {
		name     string
		form     url.Values
		verifier sts.TokenVerifier
		want     string // error code, else the role of the credentials
	}{
		{"good", request(), verifier{}, "arn:aws:sts::111122223333:assumed-role/cni/pod"},
		{"default duration", request("DurationSeconds", ""), verifier{}, "arn:aws:sts::111122223333:assumed-role/cni/pod"},
		{"refused token", request("WebIdentityToken", "forged"), verifier{}, "AccessDenied"},
		{"refused role", request("RoleArn", "arn:aws:iam::111122223333:role/other"), verifier{}, "AccessDenied"},
		{"no verifier", request(), nil, "InvalidIdentityToken"},
		{"no token", request("WebIdentityToken", ""), verifier{}, "ValidationError"},
		{"bad role", request("RoleArn", "cni"), verifier{}, "ValidationError"},
		{"bad session", request("RoleSessionName", "a b"), verifier{}, "ValidationError"},
		{"too short", request("DurationSeconds", "899"), verifier{}, "ValidationError"},
		{"too long", request("DurationSeconds", "43201"), verifier{}, "ValidationError"},
		{"overflow", request("DurationSeconds", "18446744073710"), verifier{}, "ValidationError"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &sts.Service{Credentials: store, Verifier: tt.verifier}
			body, _, err := s.Serve(t.Context(), sts.Caller{}, tt.form, "r")
			var out struct {
				Code string `xml:"Error>Code"`
				Arn  string `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>Arn"`
				Key  string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
			}
			if err := xml.Unmarshal(body, &out); err != nil {
				t.Fatal(err)
			}
			if got := out.Code + out.Arn; got != tt.want || (err != nil) != (out.Code != "") {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
			if c, ok := store.Lookup(out.Key); out.Code == "" && (!ok || c.ARN() != tt.want) {
				t.Errorf("the store has %+v", c)
			}
		})
	}
}
