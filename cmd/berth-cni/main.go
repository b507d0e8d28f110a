// Command berth-cni is the CNI plugin, installed as /opt/cni/bin/aws-cni. The container runtime starts it for every pod
// that comes or goes. It holds no logic of its own: it opens the pod's network namespace, hands the descriptor to the
// node's agent and prints the answer as a CNI result. While the agent is down a DEL waits on disk.
//
// It starts for every pod, so it must stay small: no client-go, no AWS SDK, no netlink, no HTTP.
package main

import (
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/berth-net/berth/internal/run"
)

func main() {
	os.Exit(plugin{build: run.Version()}.main())
}

func (p plugin) main() int {
	err := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add:    logged("ADD", p.add),
		Del:    logged("DEL", p.del),
		Check:  logged("CHECK", p.check),
		GC:     logged("GC", p.gc),
		Status: logged("STATUS", p.status),
	}, version.All, "CNI plugin aws-cni of berth "+p.build)
	if err == nil {
		return 0
	}
	if printErr := err.Print(); printErr != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
	}
	return 1
}
