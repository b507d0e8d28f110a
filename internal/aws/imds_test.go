package aws

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
)

const document = `{"accountId":"111122223333","region":"us-west-2","availabilityZone":"us-west-2a","instanceId":"i-0123","instanceType":"m5.large","privateIp":"10.0.0.155"}`

const (
	mac0 = "network/interfaces/macs/02:aa:00:00:00:01/"
	mac1 = "network/interfaces/macs/02:aa:00:00:00:02/"
	mac2 = "network/interfaces/macs/02:aa:00:00:00:03/"
)

func tree() map[string]string {
	return map[string]string{
		"mac":                      "02:AA:00:00:00:01",
		"network/interfaces/macs/": "02:aa:00:00:00:02/\n02:aa:00:00:00:01/\n02:aa:00:00:00:03/",
		mac0 + "interface-id":      "eni-0aaa", mac0 + "device-number": "0", mac0 + "subnet-id": "subnet-1", mac0 + "vpc-id": "vpc-1",
		mac0 + "local-ipv4s": "10.0.0.155\n10.0.0.140", mac0 + "subnet-ipv4-cidr-block": "10.0.0.128/27",
		mac0 + "vpc-ipv4-cidr-blocks": "10.0.0.0/24\n10.1.0.0/16", mac0 + "security-group-ids": "sg-1\nsg-2",
		mac1 + "interface-id": "eni-0bbb", mac1 + "device-number": "1", mac1 + "subnet-id": "subnet-2", mac1 + "network-card": "0",
		mac1 + "local-ipv4s": "10.1.3.9", mac1 + "subnet-ipv4-cidr-block": "10.1.0.0/19", mac1 + "ipv4-prefix": "10.1.4.16/28",
		mac2 + "interface-id": "eni-0ccc", // only just being attached: nothing else is there yet
	}
}

// metadata serves a tree over IMDSv2; status overrides the answer of single paths.
func metadata(t *testing.T, tree map[string]string, status map[string]int, doc string) (*Metadata, *atomic.Int64) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/latest/")
		switch {
		case path == "api/token" && r.Method == http.MethodPut:
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			_, _ = w.Write([]byte("token"))
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token":
			w.WriteHeader(http.StatusUnauthorized)
		case path == "dynamic/instance-identity/document":
			_, _ = w.Write([]byte(doc))
		default:
			// The macs may be asked for in lower or upper case.
			path = strings.ToLower(strings.TrimPrefix(path, "meta-data/"))
			if s := status[path]; s != 0 {
				w.WriteHeader(s)
				return
			}
			v, ok := tree[path]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			_, _ = w.Write([]byte(v))
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	var reads atomic.Int64
	return NewMetadata(func() { reads.Add(1) }), &reads
}

func TestInstance(t *testing.T) {
	m, reads := metadata(t, tree(), nil, document)
	got, err := m.Instance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := vpc.Instance{
		ID: "i-0123", Type: "m5.large", Region: "us-west-2", Zone: "us-west-2a", VPC: "vpc-1", Subnet: "subnet-1", PrimaryENI: "eni-0aaa",
		PrimaryMAC: "02:aa:00:00:00:01", PrimaryIP: addr("10.0.0.155"), Groups: []vpc.SecurityGroupID{"sg-1", "sg-2"},
		VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.1.0.0/16")},
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
	if n := reads.Load(); n > 10 {
		t.Errorf("%d reads", n)
	}
}

func TestMetadataENIs(t *testing.T) {
	m, _ := metadata(t, tree(), nil, document)
	got, err := m.ENIs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []vpc.MetadataENI{
		{ID: "eni-0aaa", MAC: "02:aa:00:00:00:01", Subnet: "subnet-1", SubnetCIDR: netip.MustParsePrefix("10.0.0.128/27"), Addresses: []netip.Addr{addr("10.0.0.155"), addr("10.0.0.140")}},
		{
			ID: "eni-0bbb", MAC: "02:aa:00:00:00:02", DeviceIndex: 1, Subnet: "subnet-2", SubnetCIDR: netip.MustParsePrefix("10.1.0.0/19"),
			Addresses: []netip.Addr{addr("10.1.3.9")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.4.16/28")},
		},
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
}

// A failed read is an error, never an interface less.
func TestMetadataErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(map[string]string)
		status map[string]int
		doc    string
	}{
		{"server error", func(map[string]string) {}, map[string]int{mac1 + "local-ipv4s": 500}, document},
		{"address is none", func(m map[string]string) { m[mac1+"local-ipv4s"] = "<html>" }, nil, document},
		{"device number is none", func(m map[string]string) { m[mac0+"device-number"] = "zero" }, nil, document},
		{"no interfaces", func(m map[string]string) { delete(m, "network/interfaces/macs/") }, nil, document},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := tree()
			tt.change(values)
			m, _ := metadata(t, values, tt.status, tt.doc)
			if got, err := m.ENIs(t.Context()); err == nil {
				t.Errorf("got %+v without an error", got)
			}
		})
	}
	for name, doc := range map[string]string{"no JSON": "<html>", "empty": "{}", "half": `{"region":"us-`} {
		t.Run("document "+name, func(t *testing.T) {
			m, _ := metadata(t, tree(), nil, doc)
			if got, err := m.Instance(t.Context()); err == nil {
				t.Errorf("got %+v without an error", got)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	m, reads := metadata(t, tree(), nil, document)
	cidrs, groups, err := m.Refresh(t.Context(), "02:aa:00:00:00:01")
	if err != nil || len(cidrs) != 2 || len(groups) != 2 || reads.Load() != 2 {
		t.Errorf("%v %v %v, %d reads", cidrs, groups, err, reads.Load())
	}
}

// FuzzParseENI feeds what a metadata service could answer: what is believed of it must make sense.
func FuzzParseENI(f *testing.F) {
	f.Add("eni-0aaa", "1", "0", "10.0.0.128/27", "10.0.0.155\n10.0.0.140", "10.1.4.16/28")
	f.Add("eni-0aaa", "-1", "", "10.0.0.128/27", "10.0.0.155", "")
	f.Add("", "0", "x", "fe80::/64", "fe80::1%eth0", "10.1.4.17/28 ::/0")
	f.Add("<html>", "0", "-7", "", "", "")
	f.Fuzz(func(t *testing.T, id, device, card, block, addrs, prefixes string) {
		e, err := parseENI(map[string]string{
			"interface-id": id, "device-number": device, "network-card": card, "subnet-ipv4-cidr-block": block, "local-ipv4s": addrs, "ipv4-prefix": prefixes,
		})
		if err != nil {
			return
		}
		if !strings.HasPrefix(string(e.ID), "eni-") || e.DeviceIndex < 0 || e.NetworkCard < 0 {
			t.Errorf("%q: interface at %d of card %d", e.ID, e.DeviceIndex, e.NetworkCard)
		}
		if e.SubnetCIDR.IsValid() && !e.SubnetCIDR.Addr().Is4() {
			t.Errorf("subnet %s", e.SubnetCIDR)
		}
		for _, a := range e.Addresses {
			if !a.Is4() {
				t.Errorf("address %s", a)
			}
		}
		for _, p := range e.Prefixes {
			if !p.Addr().Is4() || p != p.Masked() {
				t.Errorf("prefix %s", p)
			}
		}
	})
}
