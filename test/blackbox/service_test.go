package blackbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// metrics REGEXP waits until a line of the agent's metrics matches.
func cmdMetrics(w *world, _ bool, args []string) {
	if len(args) != 1 {
		w.fail("metrics REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	w.check("metrics", err)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(w.rig.Dir, "m"))
	}}}
	defer client.CloseIdleConnections()
	if missing := eventually(patience, func() string {
		text, err := w.scrape(&client)
		if err == nil && re.Match(text) {
			return ""
		}
		return fmt.Sprintf("%v\n%s", err, regexp.MustCompile("(?m)^.*policy.*$").FindAll(text, -1))
	}); missing != "" {
		w.fail("no metric matches %s: %s", args[0], missing)
	}
}

func (w *world) scrape(client *http.Client) ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.tb.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return io.ReadAll(answer.Body)
}
