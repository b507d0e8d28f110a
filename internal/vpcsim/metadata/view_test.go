package metadata

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const mac = "02:00:00:00:00:01"

func eni(addresses ...string) Interface {
	return Interface{MAC: mac, ID: "eni-1", Subnet: "subnet-1", Addresses: addresses}
}

func lag(add, remove time.Duration) Delays {
	return Delays{Add: func() time.Duration { return add }, Remove: func() time.Duration { return remove }}
}

// addresses shows local-ipv4s in one line: "-" when the interface is not listed, "?" when it has no details yet.
func addresses(v *View, at time.Duration) string {
	t := v.Tree(Instance{}, start.Add(at))
	dir := "network/interfaces/macs/" + mac + "/"
	if _, empty := t[dir]; empty {
		return "?"
	}
	if _, ok := t[dir+"interface-id"]; !ok {
		return "-"
	}
	return strings.ReplaceAll(t[dir+"local-ipv4s"], "\n", " ")
}

func TestViewLags(t *testing.T) {
	var v View
	d := lag(2*time.Second, 3*time.Second)
	v.Sync(start, []Interface{eni("10.0.0.4", "10.0.0.5")}, d)
	v.Sync(start.Add(5*time.Second), []Interface{eni("10.0.0.4", "10.0.0.6")}, d)
	check := func(at time.Duration, want string) {
		t.Helper()
		if got := addresses(&v, at); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
	check(5*time.Second, "10.0.0.4 10.0.0.5")
	check(6999*time.Millisecond, "10.0.0.4 10.0.0.5")
	check(7*time.Second, "10.0.0.4 10.0.0.5 10.0.0.6")
	check(8*time.Second, "10.0.0.4 10.0.0.6")
	v.Sync(start.Add(10*time.Second), nil, d)
	check(12*time.Second, "10.0.0.4 10.0.0.6")
	check(13*time.Second, "?")
	check(15999*time.Millisecond, "?")
	check(16*time.Second, "-")

	data, err := json.Marshal(&v)
	if err != nil {
		t.Fatal(err)
	}
	var again View
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.Tree(Instance{}, start.Add(12*time.Second)), again.Tree(Instance{}, start.Add(12*time.Second))); diff != "" {
		t.Errorf("after a round trip: %s", diff)
	}
}

func TestNewInterfaceIsPartialFirst(t *testing.T) {
	var v View
	v.Sync(start, []Interface{eni("10.0.0.4")}, lag(time.Second, 0))
	for at, want := range map[time.Duration]string{0: "-", time.Second: "?", 2 * time.Second: "10.0.0.4"} {
		if got := addresses(&v, at); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
}

func TestTreeWithoutLag(t *testing.T) {
	var v View
	e := eni("10.0.0.4", "10.0.0.5")
	e.Prefixes, e.VPCBlocks, e.SubnetBlock = []string{"10.0.0.16/28"}, []string{"10.0.0.0/24", "10.1.0.0/16"}, "10.0.0.0/27"
	e.Public = map[string]string{"10.0.0.4": "203.0.113.9"}
	v.Sync(start, []Interface{e}, lag(0, 0))
	tree := v.Tree(Instance{ID: "i-1", Type: "m6a.large", Region: "us-west-2", Tags: map[string]string{"Name": ""}}, start)
	var got []string
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		got = append(got, k+"="+strings.ReplaceAll(tree[k], "\n", " "))
	}
	want := []string{
		"ami-launch-index=0", "instance-id=i-1", "instance-life-cycle=on-demand", "instance-type=m6a.large",
		"network/interfaces/macs/" + mac + "/device-number=0",
		"network/interfaces/macs/" + mac + "/interface-id=eni-1",
		"network/interfaces/macs/" + mac + "/ipv4-associations/203.0.113.9=10.0.0.4",
		"network/interfaces/macs/" + mac + "/ipv4-prefix=10.0.0.16/28",
		"network/interfaces/macs/" + mac + "/local-ipv4s=10.0.0.4 10.0.0.5",
		"network/interfaces/macs/" + mac + "/mac=" + mac,
		"network/interfaces/macs/" + mac + "/public-ipv4s=203.0.113.9",
		"network/interfaces/macs/" + mac + "/subnet-id=subnet-1",
		"network/interfaces/macs/" + mac + "/subnet-ipv4-cidr-block=10.0.0.0/27",
		"network/interfaces/macs/" + mac + "/vpc-ipv4-cidr-block=10.0.0.0/24",
		"network/interfaces/macs/" + mac + "/vpc-ipv4-cidr-blocks=10.0.0.0/24 10.1.0.0/16",
		"placement/region=us-west-2", "profile=default-hvm", "services/domain=amazonaws.com", "services/partition=aws",
		"tags/instance/Name=",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
