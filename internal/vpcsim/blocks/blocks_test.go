package blocks

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func code(err error) string {
	if e, ok := errors.AsType[*ec2.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestParse(t *testing.T) {
	if p, err := Parse("100.68.0.18/18"); err != nil || p != netip.MustParsePrefix("100.68.0.0/18") {
		t.Errorf("host bits: %v %v", p, err)
	}
	for _, bad := range []string{"ten", "10.0.0.0", "10.0.0.0/33", "2600::/56"} {
		if _, err := Parse(bad); code(err) != "InvalidParameterValue" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := Parse(""); code(err) != "MissingParameter" {
		t.Errorf("no block: %v", err)
	}
}

func TestCheckVPC(t *testing.T) {
	tests := map[string]string{
		"10.0.0.0/16": "", "10.0.0.0/28": "", "52.0.0.0/24": "",
		"10.0.0.0/15": "InvalidVpc.Range", "10.0.0.0/29": "InvalidVpc.Range", "169.254.8.0/24": "InvalidVpc.Range",
		"127.0.0.0/24": "InvalidVpc.Range", "240.0.0.0/24": "", "225.0.0.0/24": "InvalidVpc.Range",
	}
	for cidr, want := range tests {
		if got := code(CheckVPC(netip.MustParsePrefix(cidr))); got != want {
			t.Errorf("%s: %q, want %q", cidr, got, want)
		}
	}
}

func TestCheckSecondary(t *testing.T) {
	const no = "InvalidVpc.Range"
	tests := []struct {
		have, add, want string
		lax             bool
	}{
		{have: "10.0.0.0/24", add: "10.1.0.0/16"},
		{have: "10.0.0.0/24", add: "10.0.1.0/24", want: no},
		{have: "10.2.0.0/16", add: "10.0.0.0/16"},
		{have: "10.2.0.0/16 10.1.0.0/24", add: "10.0.0.0/16", want: no},
		{have: "10.0.0.0/16", add: "100.64.0.0/16"},
		{have: "10.0.0.0/16", add: "172.16.0.0/16", want: no},
		{have: "10.0.0.0/16", add: "172.16.0.0/16", lax: true},
		{have: "10.0.0.0/16", add: "192.168.4.0/24", want: no},
		{have: "10.0.0.0/16", add: "198.19.0.0/24", want: no},
		{have: "10.0.0.0/16", add: "52.1.0.0/16"},
		{have: "172.16.0.0/16", add: "172.17.0.0/16"},
		{have: "172.16.0.0/16", add: "172.31.0.0/24", want: no},
		{have: "172.16.0.0/16", add: "10.8.0.0/16", want: no},
		{have: "192.168.0.0/20", add: "100.64.0.0/16"},
		{have: "192.168.0.0/20", add: "192.168.16.0/20"},
		{have: "192.168.0.0/20", add: "10.0.0.0/16", want: no},
		{have: "198.19.0.0/20", add: "10.0.0.0/16", want: no},
		{have: "198.19.0.0/20", add: "52.0.0.0/16"},
		{have: "100.64.0.0/16", add: "10.9.0.0/16", want: no},
		{have: "100.64.0.0/16", add: "100.65.0.0/16"},
		{have: "10.0.0.0/16", add: "10.0.8.0/24", want: "CidrConflict"},
		{have: "10.0.0.0/16 100.64.0.0/16", add: "100.64.0.0/20", want: "CidrConflict"},
		{have: "10.0.0.0/16", add: "10.8.0.0/29", want: no},
		{have: "10.0.0.0/16", add: "169.254.0.0/24", want: no, lax: true},
	}
	for _, tt := range tests {
		var have []netip.Prefix
		for h := range strings.FieldsSeq(tt.have) {
			have = append(have, netip.MustParsePrefix(h))
		}
		if got := code(CheckSecondary(have, netip.MustParsePrefix(tt.add), tt.lax)); got != tt.want {
			t.Errorf("%s + %s: %q, want %q", tt.have, tt.add, got, tt.want)
		}
	}
}
