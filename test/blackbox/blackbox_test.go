// Package blackbox runs the stories of test/scripts against the real agent and the real plugin, as root, on simulated
// instances and without Kubernetes. A script is a text archive for testscript; README.md beside them lists the commands.
//
//	go test ./test/blackbox -run TestScripts/subnet-full
package blackbox

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-net/berth/internal/testkit"
)

// atOnce is how many scripts run side by side: they wait for most of their time.
const atOnce = "6"

// long has the stories that say so last a minute, or repeat a thousand times.
var long = flag.Bool("long", false, "run stories about network policy under load at full length, as make nightly does")

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", atOnce)
	}
	os.Exit(testkit.RunNetns(m))
}

type worldKey struct{}

func TestScripts(t *testing.T) {
	testkit.RequireRoot(t)
	testkit.RequireProgram(t, "nft")
	testkit.RequireProgram(t, "ip")
	testscript.Run(t, testscript.Params{
		Dir: "../scripts",
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			env.Values[worldKey{}] = newWorld(tb)
			for name, lengths := range map[string][2]string{"storm": {"8s", "1m"}, "dials": {"100", "1000"}} {
				env.Setenv(name, map[bool]string{false: lengths[0], true: lengths[1]}[*long])
			}
			return nil
		},
		Condition:          conditions,
		RequireUniqueNames: true,
		Cmds:               commands(),
	})
}

type command = func(w *world, neg bool, args []string)

// commands are the scripts' own commands, for which README.md has the words.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	cmds := make(map[string]func(*testscript.TestScript, bool, []string))
	for name, f := range words() {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			w := ts.Value(worldKey{}).(*world)
			w.ts = ts
			if w.rig == nil && name != "vpc" {
				ts.Fatalf("%s: the script begins with vpc", name)
			}
			f(w, neg, args)
		}
	}
	return cmds
}

func words() map[string]command {
	return map[string]command{
		"vpc": cmdVPC, "subnet": cmdSubnet, "tag": cmdTag, "untag": cmdUntag, "settings": cmdSettings, "internet": cmdInternet, "nat": cmdNAT,
		"outside": cmdOutside, "translate": cmdTranslate, "until-file": cmdUntilFile, "metrics": cmdMetrics, "ec2": cmdEC2, "kube": cmdKube, "share": cmdShare, "fault": cmdFault, "mark": cmdMark, "calls": cmdCalls, "interfaces": cmdInterfaces,
		"agent": cmdAgent, "until": cmdUntil, "facts": cmdFacts, "log": cmdLog, "pages": cmdPages, "maps": cmdMaps, "tamper": cmdTamper, "trace": cmdTrace,
		"cni": cmdCNI, "took": cmdTook, "leaks": cmdLeaks,
		"resolver": cmdResolver, "names": cmdNames, "ping": cmdPing, "tcp": cmdTCP, "transfer": cmdTransfer, "drops": cmdDrops,
		"node": cmdNode, "journal": cmdJournal, "disk": cmdDisk, "reboot": cmdReboot, "churn": cmdChurn, "window": cmdWindow, "storm": cmdStorm, "flood": cmdFlood, "chain": cmdChain,
		"existing-cni": cmdExisting, "flow": cmdFlow, "leave": cmdLeave,
		"second": cmdSecond, "on": cmdOn, "group": cmdGroup, "scatter": cmdScatter, "foreign": cmdForeign,
	}
}
