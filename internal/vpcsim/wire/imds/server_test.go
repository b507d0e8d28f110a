package imds_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	client "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/wire/imds"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

const mac = "02:00:00:00:00:01"

// world is an instance's metadata that a test may change.
type world struct {
	meta  vpcsim.Metadata
	gone  bool
	now   time.Time
	store *sigv4.Store
	url   string
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), meta: vpcsim.Metadata{
		Options: ec2.InstanceMetadataOptions{HttpEndpoint: "enabled", HttpTokens: "required", HttpPutResponseHopLimit: new(2)},
		Role:    "node", Account: "111122223333", Region: "us-west-2", Zone: "us-west-2a", Instance: "i-0123",
		InstanceType: "m6a.large", Image: "ami-1", PrivateIP: "10.0.0.155", Architecture: "x86_64",
		PendingTime: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
		Values: map[string]string{
			"instance-id":                 "i-0123",
			"mac":                         mac,
			"placement/availability-zone": "us-west-2a",
			"placement/region":            "us-west-2",
			"network/interfaces/macs/" + mac + "/interface-id": "eni-1",
			"network/interfaces/macs/" + mac + "/local-ipv4s":  "10.0.0.155\n10.0.0.156",
			"network/interfaces/macs/02:00:00:00:00:02/":       "",
		},
	}}
	w.store = sigv4.NewStore(func() time.Time { return w.now })
	svc := imds.New(func() (vpcsim.Metadata, bool) { return w.meta, !w.gone }, w.store, func() time.Time { return w.now })
	srv := httptest.NewUnstartedServer(svc)
	srv.Config.ConnContext = imds.ConnContext
	srv.Start()
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *world) do(t *testing.T, method, path string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const (
	ttl   = "X-aws-ec2-metadata-token-ttl-seconds"
	token = "X-aws-ec2-metadata-token"
)

func (w *world) token(t *testing.T) string {
	t.Helper()
	status, tok := w.do(t, http.MethodPut, "/latest/api/token", ttl, "60")
	if status != http.StatusOK {
		t.Fatalf("token: status %d", status)
	}
	return tok
}

func TestTokenRules(t *testing.T) {
	w := start(t)
	tests := []struct {
		name, method string
		header       []string
		want         int
	}{
		{"longest", "PUT", []string{ttl, "21600"}, 200},
		{"no ttl", "PUT", nil, 400},
		{"ttl too long", "PUT", []string{ttl, "21601"}, 400},
		{"ttl zero", "PUT", []string{ttl, "0"}, 400},
		{"ttl no number", "PUT", []string{ttl, "ten"}, 400},
		{"through a proxy", "PUT", []string{ttl, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"GET", "GET", []string{ttl, "60"}, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := w.do(t, tt.method, "/latest/api/token", tt.header...); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("a token ends", func(t *testing.T) {
		tok := w.token(t)
		w.now = w.now.Add(59 * time.Second)
		if got, _ := w.do(t, "GET", "/latest/meta-data/mac", token, tok); got != 200 {
			t.Errorf("status %d before the end", got)
		}
		w.now = w.now.Add(time.Second)
		if got, _ := w.do(t, "GET", "/latest/meta-data/mac", token, tok); got != 401 {
			t.Errorf("status %d after the end", got)
		}
	})
	t.Run("a token of another instance", func(t *testing.T) {
		if got, _ := w.do(t, "GET", "/latest/meta-data/mac", token, start(t).token(t)); got != 401 {
			t.Errorf("status %d", got)
		}
	})
}

func TestTree(t *testing.T) {
	w := start(t)
	tok := w.token(t)
	tests := []struct {
		path string
		want string
		code int
	}{
		{"/latest/", "dynamic/\nmeta-data/", 200},
		{"/latest/meta-data", "iam/\ninstance-id\nmac\nnetwork/\nplacement/", 200},
		{"/latest/meta-data/placement/", "availability-zone\nregion", 200},
		{"/latest/meta-data/placement/region", "us-west-2", 200},
		{"/latest/meta-data/network/interfaces/macs/", mac + "/\n02:00:00:00:00:02/", 200},
		{"/latest/meta-data/network/interfaces/macs/" + mac + "/local-ipv4s", "10.0.0.155\n10.0.0.156", 200},
		{"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:02/", "", 200},
		{"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:02/interface-id", "", 404},
		{"/latest/meta-data/network/interfaces/macs/" + mac + "/ipv4-prefix", "", 404},
		{"/latest/meta-data/iam/security-credentials/", "node", 200},
		{"/latest/meta-data/iam/security-credentials/other", "", 404},
		{"/latest/user-data", "", 404},
		{"/", "latest/", 200},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			code, got := w.do(t, "GET", tt.path, token, tok)
			if code != tt.code || code == 200 && got != tt.want {
				t.Errorf("got %d %q, want %d %q", code, got, tt.code, tt.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	w := start(t)
	get := func() int {
		code, _ := w.do(t, "GET", "/latest/meta-data/mac")
		return code
	}
	var got []string
	got = append(got, fmt.Sprint("required: ", get()))
	w.meta.Options.HttpTokens = "optional"
	got = append(got, fmt.Sprint("optional: ", get()))
	w.meta.Options.HttpEndpoint = "disabled"
	got = append(got, fmt.Sprint("disabled: ", get()))
	w.gone = true
	got = append(got, fmt.Sprint("terminated: ", get()))
	want := []string{"required: 401", "optional: 200", "disabled: 403", "terminated: 404"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRoleCredentialsAreRenewed(t *testing.T) {
	w := start(t)
	w.meta.Options.HttpTokens = "optional"
	read := func() (key string) {
		_, text := w.do(t, "GET", "/latest/meta-data/iam/security-credentials/node")
		var d struct{ AccessKeyId, SecretAccessKey, Token, Code string }
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		c, ok := w.store.Lookup(d.AccessKeyId)
		if !ok || c.Secret != d.SecretAccessKey || c.SessionToken != d.Token || c.ARN() != "arn:aws:sts::111122223333:assumed-role/node/i-0123" {
			t.Errorf("store has %+v for %s", c, text)
		}
		return d.AccessKeyId
	}
	first := read()
	w.now = w.now.Add(4 * time.Hour)
	if read() != first {
		t.Error("renewed long before the end")
	}
	w.now = w.now.Add(90 * time.Minute)
	if read() == first {
		t.Error("not renewed half an hour before the end")
	}
}

type httpError interface {
	error
	HTTPStatusCode() int
}

// TestSDK reads with the SDK's own client.
func TestSDK(t *testing.T) {
	w := start(t)
	c := client.New(client.Options{Endpoint: w.url, Retryer: retry.AddWithMaxAttempts(aws.NopRetryer{}, 1)})
	doc, err := c.GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if doc.InstanceID != "i-0123" || doc.Region != "us-west-2" || doc.AccountID != "111122223333" || doc.AvailabilityZone != "us-west-2a" || doc.PendingTime.IsZero() {
		t.Errorf("document %+v", doc.InstanceIdentityDocument)
	}
	out, err := c.GetMetadata(t.Context(), &client.GetMetadataInput{Path: "network/interfaces/macs/" + mac + "/local-ipv4s"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out.Content)
	if err != nil || !strings.HasPrefix(string(b), "10.0.0.155\n") {
		t.Errorf("got %q, %v", b, err)
	}
	_, err = c.GetMetadata(t.Context(), &client.GetMetadataInput{Path: "ipv6"})
	if e, ok := errors.AsType[httpError](err); !ok || e.HTTPStatusCode() != http.StatusNotFound {
		t.Errorf("absent value: %v", err)
	}
	info, err := c.GetIAMInfo(t.Context(), nil)
	if err != nil || !strings.HasSuffix(info.InstanceProfileArn, "/node") {
		t.Errorf("iam info %+v, %v", info, err)
	}
}
