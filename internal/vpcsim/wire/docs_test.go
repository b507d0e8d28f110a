package wire_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// What can be set while the simulation runs is in its documentation, and what its examples say is accepted.
func TestSettingsAndFaultsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/simulated-aws.md")
	must(t, err)
	page := string(text)
	want := []string{"imds:Get", "imds:PutToken", "Stale"}
	for _, s := range []any{vpcsim.Settings{}, vpcsim.Quotas{}} {
		for f := range reflect.TypeOf(s).Fields() {
			want = append(want, f.Name)
		}
	}
	for f := range reflect.TypeFor[pacing.Fault]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "id" {
			want = append(want, name)
		}
	}
	for _, name := range want {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/simulated-aws.md does not say what %s is", name)
		}
	}
	w := start(t, vpcsim.Options{})
	for _, example := range []string{
		`{"MetadataAdd":"5s","Throttle":true}`, `{"Attach":{"p50":400000000,"p99":900000000,"max":2000000000}}`,
		`{"Buckets":{"DescribeSubnets":{"size":10,"refill":1}}}`, `{"Latency":{"imds:*":"400ms"}}`,
	} {
		if code := w.control(t, "PATCH", "settings", example, nil); code != 200 {
			t.Errorf("settings %s: %d", example, code)
		}
	}
	if got := w.sim.Settings(); got.MetadataAdd.P50.Seconds() != 5 || !got.Throttle || got.Buckets["DescribeSubnets"].Size != 10 {
		t.Errorf("settings are %+v", got)
	}
}
