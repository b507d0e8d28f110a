// Package token verifies the tokens of Kubernetes service accounts, as STS does for a pod that asks for the credentials
// of a role. It accepts what the lab's API server signs and nothing else: RS256, the cluster's own key, its issuer, the
// audience of STS, and a time within the token's life.
package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Audience is what a token for STS is made for.
const Audience = "sts.amazonaws.com"

// Verifier checks tokens.
type Verifier struct {
	Key    *rsa.PublicKey
	Issuer string
	Now    func() time.Time
}

// Claims are what a verified token says.
type Claims struct {
	Subject, Issuer string
	Audience        []string
	Expires         time.Time
}

// ParseKey reads a public key in PEM.
func ParseKey(text []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("read public key: no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("read public key: want RSA, got %T", key)
	}
	return public, nil
}

// audiences is a text or a list of texts.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// Verify checks a token.
func (v Verifier) Verify(token string) (Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, errors.New("it is not a signed token")
	}
	var header struct{ Alg string }
	if err := decode(parts[0], &header); err != nil {
		return Claims{}, fmt.Errorf("read header: %w", err)
	}
	if header.Alg != "RS256" {
		return Claims{}, fmt.Errorf("it is signed by %q, want RS256", header.Alg)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return Claims{}, fmt.Errorf("read signature: %w", err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(v.Key, crypto.SHA256, digest[:], signature); err != nil {
		return Claims{}, errors.New("the signature is not this cluster's")
	}
	var claims struct {
		Iss, Sub string
		Aud      audiences
		Exp, Nbf int64
	}
	if err := decode(parts[1], &claims); err != nil {
		return Claims{}, fmt.Errorf("read claims: %w", err)
	}
	now := v.Now()
	switch {
	case claims.Iss != v.Issuer:
		return Claims{}, fmt.Errorf("its issuer is %q, want %q", claims.Iss, v.Issuer)
	case !slices.Contains(claims.Aud, Audience):
		return Claims{}, fmt.Errorf("its audience is %q, want %q", claims.Aud, Audience)
	case !now.Before(time.Unix(claims.Exp, 0)):
		return Claims{}, errors.New("it has expired")
	case now.Before(time.Unix(claims.Nbf, 0)):
		return Claims{}, errors.New("it is not valid yet")
	}
	return Claims{Subject: claims.Sub, Issuer: claims.Iss, Audience: claims.Aud, Expires: time.Unix(claims.Exp, 0)}, nil
}

func decode(part string, v any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
