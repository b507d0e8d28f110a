package vpc_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
)

func TestBlockText(t *testing.T) {
	var blocks []vpc.Block
	if err := json.Unmarshal([]byte(`["10.0.0.5","10.0.0.16/28"]`), &blocks); err != nil {
		t.Fatal(err)
	}
	if got := blocks[0].Size() + blocks[1].Size(); got != 17 {
		t.Errorf("%d addresses, want 17", got)
	}
	addrs, prefixes := vpc.Split(blocks)
	if addrs[0] != netip.MustParseAddr("10.0.0.5") || prefixes[0] != netip.MustParsePrefix("10.0.0.16/28") {
		t.Errorf("%v %v", addrs, prefixes)
	}
	if last := blocks[1].Addrs()[15]; last != netip.MustParseAddr("10.0.0.31") {
		t.Errorf("last address %s", last)
	}
	text, err := json.Marshal(vpc.Blocks(addrs, prefixes))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`["10.0.0.5","10.0.0.16/28"]`, string(text)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`"10.0.0.17/28"`, `"10.0.0.0/24"`, `"x"`, `""`} {
		var b vpc.Block
		if err := json.Unmarshal([]byte(bad), &b); err == nil {
			t.Errorf("%s is read as %s", bad, b)
		}
	}
}
