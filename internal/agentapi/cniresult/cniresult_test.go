package cniresult_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/cniresult"
)

// What the agent writes the plugin reads back, whatever the addresses and the version.
func TestResultRoundTrip(t *testing.T) {
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		for _, addrs := range [][]string{{"10.0.0.1"}, {"2001:db8::1"}, {"10.0.0.1", "2001:db8::1"}} {
			req := agentapi.Request{Attachment: agentapi.Attachment{IfName: "eth0"}, Netns: "/x", CNIVersion: version}
			want := agentapi.Added{HostVeth: "eni0123456789a", Table: 10102, Device: 1}
			if version >= "1.1.0" {
				want.MTU = 1500 // older versions have no place for it
			}
			for _, a := range addrs {
				want.Addrs = append(want.Addrs, netip.MustParseAddr(a))
			}
			result, err := cniresult.Encode(req, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := cniresult.Parse(version, "eth0", result)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: read back %+v, want %+v", version, got, want)
			}
		}
	}
}

func TestResultOfAnUnknownVersionIsRefused(t *testing.T) {
	if data, err := cniresult.Encode(agentapi.Request{CNIVersion: "9.9.9"}, agentapi.Added{}); err == nil {
		t.Errorf("encoded as %s", data)
	}
}
