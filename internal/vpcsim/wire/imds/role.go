package imds

import (
	"sync"
	"time"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

// An instance's role gets new credentials while the old ones still last, so a client that reads them at any time has some
// that work.
const (
	roleLifetime = 6 * time.Hour
	renewBefore  = time.Hour
)

// roleCredentials are the credentials that the service shows at the moment.
type roleCredentials struct {
	mu      sync.Mutex
	current sigv4.Credential
	updated time.Time
}

func (s *Service) roleDocument(m vpcsim.Metadata) string {
	s.role.mu.Lock()
	defer s.role.mu.Unlock()
	now := s.now()
	if c := s.role.current; c.Principal != m.Role || now.After(c.Expires.Add(-renewBefore)) {
		s.role.current = s.credentials.Mint(m.Account, m.Role, string(m.Instance), roleLifetime)
		s.role.updated = now
	}
	c := s.role.current
	return document(map[string]any{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": s.role.updated.UTC().Format(time.RFC3339),
		"AccessKeyId": c.AccessKey, "SecretAccessKey": c.Secret, "Token": c.SessionToken,
		"Expiration": c.Expires.UTC().Format(time.RFC3339),
	})
}

func (s *Service) iamInfo(m vpcsim.Metadata) string {
	return document(map[string]any{
		"Code":               "Success",
		"LastUpdated":        s.now().UTC().Format(time.RFC3339),
		"InstanceProfileArn": "arn:aws:iam::" + string(m.Account) + ":instance-profile/" + m.Role,
		"InstanceProfileId":  "AIPA" + string(m.Account),
	})
}
