package token_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/token"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func sign(t *testing.T, key *rsa.PrivateKey, alg string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": alg}) + "." + part(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestVerify(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := token.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	v := token.Verifier{Key: public, Issuer: "https://issuer", Now: func() time.Time { return now }}
	claims := func(change ...any) map[string]any {
		c := map[string]any{
			"iss": "https://issuer", "sub": "system:serviceaccount:kube-system:aws-node", "aud": []string{"sts.amazonaws.com"},
			"exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(),
		}
		for i := 0; i+1 < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
		}
		return c
	}
	for _, test := range []struct{ name, token, want string }{
		{"good", sign(t, key, "RS256", claims()), ""},
		{"one audience as text", sign(t, key, "RS256", claims("aud", "sts.amazonaws.com")), ""},
		{"another key", sign(t, other, "RS256", claims()), "the signature is not this cluster's"},
		{"no algorithm", sign(t, key, "none", claims()), "want RS256"},
		{"another issuer", sign(t, key, "RS256", claims("iss", "x")), "its issuer"},
		{"for the API server", sign(t, key, "RS256", claims("aud", "kubernetes")), "its audience"},
		{"expired", sign(t, key, "RS256", claims("exp", now.Unix())), "it has expired"},
		{"early", sign(t, key, "RS256", claims("nbf", now.Add(time.Minute).Unix())), "not valid yet"},
		{"not a token", "abc", "not a signed token"},
		{"garbage", "a.b.c", "read header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := v.Verify(test.token)
			if test.want == "" {
				if err != nil || got.Subject != "system:serviceaccount:kube-system:aws-node" {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	v := token.Verifier{Key: &key.PublicKey, Now: time.Now}
	f.Add("eyJhbGciOiJSUzI1NiJ9.e30.AA")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := v.Verify(text); err == nil {
			t.Error("a token that nobody signed is accepted")
		}
	})
}
