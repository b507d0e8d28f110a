package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/wire/sts"
	"github.com/berth-net/berth/lab/internal/token"
)

// issuer is that of the cluster's service account tokens, which is the control plane's default.
const issuer = "https://kubernetes.default.svc"

// Role is what a role may do and who may take it on.
type Role struct {
	// Policies are documents as IAM has them. None takes every right away.
	Policies []json.RawMessage `json:"policies"`
	// ServiceAccount may take the role on by its token, as namespace/name. Empty is nobody; a node's role is that of its
	// instance and needs no trust.
	ServiceAccount string `json:"serviceAccount,omitempty"`
}

// putRole makes a role or replaces it.
func (w *World) putRole(_ http.ResponseWriter, r *http.Request) (any, error) {
	var role Role
	if err := json.NewDecoder(r.Body).Decode(&role); err != nil {
		return nil, fmt.Errorf("read role: %w", err)
	}
	name := r.PathValue("name")
	documents := make([]string, len(role.Policies))
	for i, p := range role.Policies {
		documents[i] = string(p)
	}
	if len(documents) == 0 { // a role without any policy may do nothing
		documents = []string{`{"Version":"2012-10-17","Statement":[]}`}
	}
	if err := w.sim.SetPolicies(name, documents...); err != nil {
		return nil, fmt.Errorf("set policies of role %s: %w", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trust == nil {
		w.trust = map[string]string{}
	}
	w.trust[name] = role.ServiceAccount
	return map[string]string{"arn": fmt.Sprintf("arn:aws:iam::%s:role/%s", Account, name)}, errors.Join(writeJSON(w.paths.roles(), w.trust), w.save())
}

// trusted lets STS give a role to the service account that the role trusts. It is a [sts.TokenVerifier].
type trusted struct{ w *World }

// VerifyWebIdentity checks a service account's token against the cluster's key and the role's trust.
func (t trusted) VerifyWebIdentity(_ context.Context, text, roleARN string) (sts.WebIdentity, error) {
	w := t.w
	plane, _ := w.cluster()
	if plane == nil {
		return sts.WebIdentity{}, errors.New("the cluster does not run yet")
	}
	data, err := plane.ServiceAccountKey()
	if err != nil {
		return sts.WebIdentity{}, err
	}
	key, err := token.ParseKey(data)
	if err != nil {
		return sts.WebIdentity{}, err
	}
	claims, err := token.Verifier{Key: key, Issuer: issuer, Now: time.Now}.Verify(text)
	if err != nil {
		return sts.WebIdentity{}, fmt.Errorf("the token is not accepted: %w", err)
	}
	name := roleARN[strings.LastIndexByte(roleARN, '/')+1:]
	w.mu.Lock()
	account := w.trust[name]
	w.mu.Unlock()
	if account == "" || claims.Subject != "system:serviceaccount:"+strings.Replace(account, "/", ":", 1) {
		return sts.WebIdentity{}, fmt.Errorf("role %s does not trust %s", name, claims.Subject)
	}
	return sts.WebIdentity{Subject: claims.Subject, Audience: token.Audience, Issuer: claims.Issuer}, nil
}
