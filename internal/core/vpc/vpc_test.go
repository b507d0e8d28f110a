package vpc

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestLimits(t *testing.T) {
	if _, err := limitsTable(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		instanceType  string
		enis, perENI  int
		cards, pods   int
		nitro, exists bool
	}{
		{"m6a.large", 3, 10, 1, 29, true, true},
		{"t3.medium", 3, 6, 1, 17, true, true},
		{"c6in.32xlarge", 8, 50, 2, 394, true, true},
		{"m4.large", 2, 10, 1, 20, false, true},
		{"no.such", 0, 0, 0, 0, false, false},
	}
	for _, tt := range tests {
		l, ok := Limits(tt.instanceType)
		if ok != tt.exists {
			t.Errorf("Limits(%s) found %t, want %t", tt.instanceType, ok, tt.exists)
			continue
		}
		if !ok {
			continue
		}
		if l.ENIs != tt.enis || l.IPv4PerENI != tt.perENI || len(l.ENIsPerCard) != tt.cards || l.MaxPods() != tt.pods || l.Nitro() != tt.nitro {
			t.Errorf("Limits(%s) = %+v, max pods %d", tt.instanceType, l, l.MaxPods())
		}
	}
}

func TestReserved(t *testing.T) {
	cidr := netip.MustParsePrefix("10.0.0.32/27")
	for addr, want := range map[string]bool{
		"10.0.0.32": true, "10.0.0.33": true, "10.0.0.34": true, "10.0.0.35": true, "10.0.0.36": false,
		"10.0.0.62": false, "10.0.0.63": true, "10.0.0.64": false,
	} {
		if got := Reserved(cidr, netip.MustParseAddr(addr)); got != want {
			t.Errorf("Reserved(%s) = %t, want %t", addr, got, want)
		}
	}
}

func TestCodeOf(t *testing.T) {
	wire := errors.New("api error RequestLimitExceeded")
	err := fmt.Errorf("list subnets: %w", &Error{Code: Throttled, Op: "DescribeSubnets", Subject: "vpc-1", Err: wire})
	if CodeOf(err) != Throttled || !errors.Is(err, wire) {
		t.Errorf("CodeOf(%v) = %s", err, CodeOf(err))
	}
	if CodeOf(nil) != "" || CodeOf(wire) != Internal {
		t.Errorf("CodeOf(nil) = %q, CodeOf(other) = %q", CodeOf(nil), CodeOf(wire))
	}
}
