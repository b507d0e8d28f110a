package sigv4

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Credential is an access key with its secret and its owner.
type Credential struct {
	AccessKey, Secret, SessionToken string
	Account                         vpc.AccountID
	// Principal is the name of the user or role; empty for the account itself. Session is the name of a role's session,
	// empty for a user's own key.
	Principal, Session string
	// Expires is the end of temporary credentials; zero means never.
	Expires time.Time
}

// ARN names the owner as STS does.
func (c Credential) ARN() string {
	switch {
	case c.Session != "":
		return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", c.Account, c.Principal, c.Session)
	case c.Principal != "":
		return fmt.Sprintf("arn:aws:iam::%s:user/%s", c.Account, c.Principal)
	}
	return fmt.Sprintf("arn:aws:iam::%s:root", c.Account)
}

// Store holds credentials. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	mu   sync.Mutex
	keys map[string]Credential
}

// NewStore returns an empty store; now tells the time.
func NewStore(now func() time.Time) *Store {
	return &Store{now: now, keys: make(map[string]Credential)}
}

// Add puts a credential in, or replaces the one with the same access key.
func (s *Store) Add(c Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[c.AccessKey] = c
}

// Lookup returns the credential of an access key, also when it has expired.
func (s *Store) Lookup(accessKey string) (Credential, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.keys[accessKey]
	return c, ok
}

// All returns every credential, sorted by access key: what a server keeps so that its clients' keys outlive it.
func (s *Store) All() []Credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.keys), func(a, b Credential) int { return strings.Compare(a.AccessKey, b.AccessKey) })
}

// Mint makes temporary credentials of a role's session and keeps them until an hour after their end.
func (s *Store) Mint(account vpc.AccountID, role, session string, lifetime time.Duration) Credential {
	now := s.now()
	c := Credential{
		AccessKey:    "ASIA" + strings.ToUpper(rand.Text()[:16]),
		Secret:       secret(30),
		SessionToken: secret(96),
		Account:      account,
		Principal:    role,
		Session:      session,
		Expires:      now.Add(lifetime).Truncate(time.Second),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.keys, func(_ string, c Credential) bool {
		return !c.Expires.IsZero() && now.After(c.Expires.Add(time.Hour))
	})
	s.keys[c.AccessKey] = c
	return c
}

func secret(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails: it ends the process rather than return weak bytes
	return base64.StdEncoding.EncodeToString(b)
}
