package vpcsim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// ids are those of the interfaces that a describe with one filter answers.
func ids(t testing.TB, w *world, name string, values ...string) []string {
	t.Helper()
	out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{Filters: []ec2.Filter{{Name: name, Values: values}}})
	must(t, err)
	found := []string{}
	for _, e := range out.NetworkInterfaces {
		found = append(found, e.NetworkInterfaceId+" "+e.Status)
	}
	return found
}

// What is found by an index is what is found by looking at everything: a value with a wildcard, which matches the same, is
// looked for without an index. So it is while changes show late, after a restored snapshot, and when lags begin and end.
func TestIndexFindsWhatAScanFinds(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			settings := restless()
			if seed%3 == 0 {
				settings = vpcsim.Settings{}
			}
			w := newWorld(t, vpcsim.Options{Seed: seed + 1, Settings: settings})
			rng := rand.New(rand.NewPCG(seed, 3))
			for round := range 30 {
				drive(t, w, rng, 10)
				switch {
				case round%10 == 7:
					data, err := w.Snapshot()
					must(t, err)
					must(t, w.Restore(data))
				case round%10 == 4 && seed%4 == 1:
					if settings.DescribeLag.Zero() {
						settings = restless()
					} else {
						settings = vpcsim.Settings{}
					}
					w.SetSettings(settings)
				case round%10 == 2:
					w.clock.add(time.Minute)
				}
				all, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{})
				must(t, err)
				pairs := [][2]string{{"attachment.instance-id", w.node}, {"subnet-id", w.subnet}, {"status", "available"}, {"status", "in-use"}}
				for i := 0; i < len(all.NetworkInterfaces); i += 3 {
					pairs = append(pairs, [2]string{"network-interface-id", all.NetworkInterfaces[i].NetworkInterfaceId})
				}
				for _, p := range pairs {
					if diff := cmp.Diff(ids(t, w, p[0], p[1]+"*"), ids(t, w, p[0], p[1])); diff != "" {
						t.Fatalf("round %d, %s=%s (-scan +index):\n%s", round, p[0], p[1], diff)
					}
				}
				some := []string{w.node, "i-" + absent, w.node}
				if diff := cmp.Diff(ids(t, w, "attachment.instance-id", w.node+"*"), ids(t, w, "attachment.instance-id", some...)); diff != "" {
					t.Fatalf("several values:\n%s", diff)
				}
			}
		})
	}
}
