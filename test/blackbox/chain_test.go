package blackbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/rig"
)

// chainedDir has the chained plugins that `make tools` builds.
const chainedDir = "../../.cache/bin/cni"

// conditions are [chained]: portmap, bandwidth and tuning are there; and [iptables]: the iptables of the unpacked packages are.
func conditions(cond string) (bool, error) {
	if cond == "iptables" {
		_, err := os.Stat("../../.cache/deb/node/usr/sbin/xtables-nft-multi")
		return err == nil, nil
	}
	if cond != "chained" {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	for _, name := range []string{"portmap", "bandwidth", "tuning"} {
		if _, err := os.Stat(filepath.Join(chainedDir, name)); err != nil {
			return false, nil //nolint:nilerr // it is not there
		}
	}
	return true, nil
}

// chain add POD [HOSTPORT] [ingress=BITS] [egress=BITS] | check POD | del POD | gc [POD…] | status calls the whole list of plugins that the
// agent wrote, by libcni as a runtime does, in the node's network namespace. HOSTPORT leads to the pod's port 7000; BITS are
// what may go to and come from the pod each second.
func cmdChain(w *world, neg bool, args []string) {
	var list *libcni.NetworkConfigList
	missing := eventually(patience, func() string { // the agent writes it once it is ready
		var err error
		if list, err = w.conflist(); err != nil {
			return err.Error()
		}
		return ""
	})
	if missing != "" {
		w.fail("read network configuration: %s", missing)
	}
	dir, err := filepath.Abs(chainedDir)
	w.check("find plugins", err)
	cni := libcni.NewCNIConfigWithCacheDir([]string{w.rig.PluginDir(), dir}, filepath.Join(w.rig.Dir, "cache"), nil)
	err = testkit.TryInNetns(w.nodeSpace(), func() error {
		switch args[0] {
		case "add":
			return w.chainAdd(cni, list, args[1:])
		case "check":
			return cni.CheckNetworkList(context.Background(), list, w.chained[args[1]])
		case "del":
			defer w.lost(args[1])
			return cni.DelNetworkList(context.Background(), list, w.chained[args[1]])
		case "gc":
			valid := &libcni.GCArgs{}
			for _, name := range args[1:] {
				valid.ValidAttachments = append(valid.ValidAttachments, gcAttachment(w.pod(name)))
			}
			return cni.GCNetworkList(context.Background(), list, valid)
		case "status":
			return cni.GetStatusNetworkList(context.Background(), list)
		}
		return fmt.Errorf("unknown: chain %s", args[0])
	})
	if err != nil {
		w.printf("%v\n", err)
	}
	w.outcome(neg, err)
}

func (w *world) chainAdd(cni *libcni.CNIConfig, list *libcni.NetworkConfigList, args []string) error {
	p := w.newPod(args[0])
	rc, err := runtimeConf(p, args[1:])
	if err != nil {
		return err
	}
	w.chained[args[0]] = rc
	result, err := cni.AddNetworkList(context.Background(), list, rc)
	if err != nil {
		return err
	}
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	w.printf("%s\n", data)
	if err := p.Take(data); err != nil {
		return err
	}
	return w.gained(args[0], p)
}

// runtimeConf is what the runtime tells the plugins of a pod, with what the arguments of chain add ask for.
func runtimeConf(p *rig.Pod, args []string) (*libcni.RuntimeConf, error) {
	limits := map[string]int{}
	capabilities := map[string]any{}
	for _, a := range args {
		key, value, limit := strings.Cut(a, "=")
		if !limit {
			value = a
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, err
		}
		if limit { // an eighth of a second in one burst
			limits[key+"Rate"], limits[key+"Burst"] = n, n/8
			capabilities["bandwidth"] = limits
		} else {
			capabilities["portMappings"] = []map[string]any{{"hostPort": n, "containerPort": servicePort, "protocol": "tcp"}}
		}
	}
	return &libcni.RuntimeConf{
		ContainerID: p.Container, NetNS: p.NetNS, IfName: "eth0",
		Args:           [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.Name}},
		CapabilityArgs: capabilities,
	}, nil
}

// conflist is the configuration that the agent wrote, with this rig's socket in it: by default all nodes of a machine
// would share one.
func (w *world) conflist() (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(w.rig.Conflist())
	if err != nil {
		return nil, err
	}
	var conf map[string]any
	if err := json.Unmarshal(data, &conf); err != nil {
		return nil, err
	}
	var own map[string]any
	if err := json.Unmarshal(w.rig.Conf(nil), &own); err != nil {
		return nil, err
	}
	plugins, ok := conf["plugins"].([]any)
	if !ok || len(plugins) == 0 {
		return nil, fmt.Errorf("no plugins in %s", data)
	}
	first, ok := plugins[0].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no plugin in %s", data)
	}
	for _, key := range []string{"berth.socket", "berth.queue", "pluginLogFile"} {
		first[key] = own[key]
	}
	conf["disableCheck"] = false
	if data, err = json.Marshal(conf); err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(data)
}

func gcAttachment(p *rig.Pod) types.GCAttachment {
	return types.GCAttachment{ContainerID: p.Container, IfName: "eth0"}
}
