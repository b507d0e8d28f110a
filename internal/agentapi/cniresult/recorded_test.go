package cniresult_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/berth-net/berth/internal/agentapi/cniresult"
)

// recorded is what the plugin of the Amazon VPC CNI v1.23.1 prints for a pod on the interface at device index 1, in the version
// of its configuration list, and as runtimes keep it until the pod's DEL.
const recorded = `{"cniVersion":"0.4.0","interfaces":[{"name":"eni551b05c3e54"},{"name":"eth0","mac":"2","sandbox":"/var/run/netns/cni-5e3d"},` +
	`{"name":"dummy551b05c3e54","mac":"0","sandbox":"1"}],"ips":[{"version":"4","interface":1,"address":"10.0.0.110/32"}],"dns":{}}`

// A pod that the existing CNI added is deleted by our plugin: the runtime converts what it kept to the version of the list that
// is there by then.
func TestResultOfTheExistingCNIIsRead(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		r, err := create.CreateFromBytes([]byte(recorded))
		if err != nil {
			t.Fatal(err)
		}
		if r, err = r.GetAsVersion(version); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cniresult.Parse(version, "eth0", data)
		if err != nil || fmt.Sprint(got.Addrs) != "[10.0.0.110]" || got.HostVeth != "eni551b05c3e54" || got.Table != 2 || got.Device != 1 {
			t.Errorf("%s: %+v, %v", version, got, err)
		}
	}
}
