package blackbox

import (
	"fmt"
	"os"
	"regexp"

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

// until-file FILE REGEXP waits until a line of a file matches.
func cmdUntilFile(w *world, _ bool, args []string) {
	if len(args) != 2 {
		w.fail("until-file FILE REGEXP")
	}
	re, err := regexp.Compile(args[1])
	w.check("until-file", err)
	if missing := eventually(patience, func() string {
		data, err := os.ReadFile(args[0])
		if err == nil && re.Match(data) {
			return ""
		}
		return fmt.Sprintf("%v\n%s", err, data)
	}); missing != "" {
		w.fail("no line of %s matches %s: %s", args[0], args[1], missing)
	}
}
