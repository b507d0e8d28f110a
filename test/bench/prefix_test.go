package bench

import (
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit/rig"
)

// prefixRestart is a restart on a node that has as many pods as EKS allows with prefixes. The existing CNI was not measured
// in prefix mode.
func prefixRestart(t *testing.T) []row {
	r := rig.New(t, rig.Options{Type: "m5.xlarge", CIDR: "10.0.0.0/16", Subnet: "10.0.0.0/20"})
	const pods = 110
	env := []string{"WARM_ENI_TARGET=", "ENABLE_PREFIX_DELEGATION=true"}
	a := r.StartAgent(env...)
	a.Ready()
	for range pods {
		p := r.NewPod()
		if _, err := r.AddUntil(&p, 100*time.Millisecond, time.Minute); err != nil {
			t.Fatalf("ADD: %v\n%s", err, a.Tail())
		}
	}
	a.Kill()
	r.Server.Mark("prefix restart")
	again := r.StartAgent(env...)
	p := r.NewPod()
	if _, err := r.AddUntil(&p, 10*time.Millisecond, time.Minute); err != nil {
		t.Fatalf("ADD: %v\n%s", err, again.Tail())
	}
	first := time.Since(again.Started)
	restart, _ := ec2Calls(r.Calls("prefix restart"))
	return []row{
		{"restart with 110 pods in prefixes: EC2 calls until the first ADD", float64(restart), "", none, 1, false},
		{"restart with 110 pods in prefixes: first ADD answered", first.Seconds(), "s", none, 1, false},
	}
}
