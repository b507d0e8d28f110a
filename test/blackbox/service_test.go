package blackbox

import (
	"fmt"

	"github.com/berth-net/berth/internal/testkit"
)

// translate ADDRESS:PORT|node:PORT NAME [masquerade] has the node do what kube-proxy does for a Service with one endpoint: what is
// sent to an address and port goes to a pod or instance, which takes it for the node's with masquerade.
func cmdTranslate(w *world, _ bool, args []string) {
	if len(args) < 2 {
		w.fail("translate ADDRESS:PORT|node:PORT NAME [masquerade]")
	}
	to, behind := w.target(args[0]), w.target(args[1])
	rules := fmt.Sprintf("add table ip services; add chain ip services pre { type nat hook prerouting priority dstnat; }; "+
		"add chain ip services post { type nat hook postrouting priority srcnat - 1; }; "+
		"add rule ip services pre ip daddr %s tcp dport %d dnat to %s", to.Addr(), to.Port(), behind)
	if len(args) > 2 {
		rules += fmt.Sprintf("; add rule ip services post meta l4proto tcp ct original ip daddr %s ct original proto-dst %d masquerade", to.Addr(), to.Port())
	}
	out, err := testkit.NetnsOutput(w.nodeSpace(), testkit.RequireProgram(w.tb, "nft"), rules)
	w.printf("%s", out)
	w.check("translate "+args[0], err)
}
