package enforce_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/enforce"
)

func TestFlowsAreToldByNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("web-1", "u2", "web", "10.0.0.9")}, denyAll, allowWeb)
		if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
			t.Fatal(err)
		}
		n.kernel.mu.Lock()
		set := n.kernel.contents.Pods[n.kernel.attached[7]].Ingress
		verdict := n.kernel.contents.Judge(set, netip.MustParseAddr("10.0.0.9"), tables.Key(uint8(policy.TCP), 80))
		n.kernel.mu.Unlock()
		flow := enforce.Flow{
			Time: time.Unix(0, 0), Ifindex: 7, Pod: netip.MustParseAddrPort("10.0.0.5:80"), Remote: netip.MustParseAddrPort("10.0.0.9:4000"),
			Protocol: uint8(policy.TCP), Direction: policy.Ingress, Allowed: true, By: verdict.By, Rule: verdict.Rule, Set: set,
		}
		denied := flow
		denied.Remote, denied.Allowed, denied.By, denied.Rule = netip.MustParseAddrPort("192.0.2.1:4000"), false, tables.ByIsolation, 0
		broken := denied
		broken.Reason, broken.Protocol, broken.Ifindex = "malformed", 58, 99
		lines, err := n.Describe(t.Context(), []enforce.Flow{flow, denied, broken})
		if err != nil || len(lines) != 3 {
			t.Fatal(lines, err)
		}
		for i, want := range [][]string{
			{
				`"verdict":"ACCEPT"`, `"direction":"ingress"`, `"protocol":"TCP"`, `"namespace":"shop","pod":"db-1","podIP":"10.0.0.5","podPort":80`,
				`"peerNamespace":"shop","peer":"web-1","peerIP":"10.0.0.9","peerPort":4000`, `"tier":"NETWORK_POLICY"`, `shop/web`, `"rule":0`,
			},
			{`"verdict":"DENY"`, `"peerIP":"192.0.2.1"`, `"tier":"NETWORK_POLICY"`, `shop/`},
			{`"verdict":"DENY"`, `"protocol":"ICMPv6"`, `"tier":"ERROR"`, `"reason":"malformed"`},
		} {
			text, err := json.Marshal(lines[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range want {
				if !strings.Contains(string(text), part) {
					t.Errorf("line %d: %s, want %s in it", i, text, part)
				}
			}
		}
		if lines[1].Peer != "" || lines[1].Rule != nil || lines[2].Pod != "" {
			t.Errorf("names that nobody has: %+v", lines[1:])
		}
	})
}
