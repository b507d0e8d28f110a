package v1alpha1

import (
	"fmt"
	"time"
)

// MaxCooldown is the longest ipCooldownPeriod.
const MaxCooldown = time.Hour

// Clean takes settings out of range away and says what was taken, a phrase each. The API server refuses such values; they
// are there when a resource is older than its definition's validation.
func (s *NodeSettingsSpec) Clean() (refused []string) {
	p := &s.Pool
	for _, f := range []struct {
		name  string
		value **int32
		most  int32
	}{
		{"warmENITarget", &p.WarmENITarget, 100},
		{"warmIPTarget", &p.WarmIPTarget, 10_000},
		{"minimumIPTarget", &p.MinimumIPTarget, 10_000},
		{"warmPrefixTarget", &p.WarmPrefixTarget, 1000},
		{"maxENI", &p.MaxENI, 100},
	} {
		if v := *f.value; v != nil && (*v < 0 || *v > f.most) {
			refused = append(refused, fmt.Sprintf("spec.pool.%s %d is not from 0 to %d", f.name, *v, f.most))
			*f.value = nil
		}
	}
	if d := p.IPCooldownPeriod; d != nil && (d.Duration < 0 || d.Duration > MaxCooldown) {
		refused = append(refused, fmt.Sprintf("spec.pool.ipCooldownPeriod %s is not from 0s to 1h", d.Duration))
		p.IPCooldownPeriod = nil
	}
	return refused
}
