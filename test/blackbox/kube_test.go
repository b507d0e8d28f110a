package blackbox

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/testkit/kubeapi"
)

const kubeUsage = `kube node [pods=COUNT] [cordoned] [-label KEY=VALUE] [-annotation KEY=VALUE] | eniconfig NAME [SUBNET [GROUP…]] | apply FILE | delete COLLECTION NAME | pod [-label KEY=VALUE] NAME… | events | conditions | until event|condition REGEXP`

// kube is what one does with kubectl at an API server that the nodes reach by $kubeconfig; kubeUsage has its verbs.
func cmdKube(w *world, _ bool, args []string) {
	if len(args) == 0 {
		w.fail("%s", kubeUsage)
	}
	if w.api == nil {
		w.startAPI()
	}
	switch verb, args := args[0], args[1:]; {
	case verb == "node":
		w.kubeNode(args)
	case verb == "eniconfig" && len(args) > 0:
		w.eniConfig(args[0], args[1:])
	case verb == "apply" && len(args) == 1:
		w.kubeApply(args[0])
	case verb == "delete" && len(args) == 2 && kubeapi.Known(args[0]):
		w.api.Set(args[0], args[1], nil)
	case verb == "pod" && len(args) > 0:
		w.kubePods(args)
	case verb == "events" && len(args) == 0:
		w.printf("%s\n", strings.Join(w.api.Events(), "\n"))
	case verb == "conditions" && len(args) == 0:
		w.printf("%s\n", strings.Join(w.api.Conditions(w.rig.Node), "\n"))
	case verb == "until" && len(args) == 2:
		w.kubeUntil(args[0], args[1])
	default:
		w.fail("%s", kubeUsage)
	}
}

// startAPI serves on the same address in each node's network namespace.
func (w *world) startAPI() {
	w.api = kubeapi.New()
	w.api.Listen(w.tb, w.nodeSpace())
	for name := range w.sites {
		_, space := w.place(name)
		w.api.Listen(w.tb, space)
	}
	path := filepath.Join(w.rig.Dir, "kubeconfig")
	w.check("write kubeconfig", os.WriteFile(path, []byte(kubeapi.Kubeconfig), 0o600))
	w.ts.Setenv("kubeconfig", path)
}

type object = kubeapi.Object

// kubePods sets pods of the node, that wait for their network as far as the API server knows.
func (w *world) kubePods(args []string) {
	labels := object{}
	for len(args) > 2 && args[0] == "-label" {
		key, value, _ := strings.Cut(args[1], "=")
		labels[key], args = value, args[2:]
	}
	for _, name := range w.names(args) {
		w.api.SetPod(name, labels)
	}
}

// kubeNode sets the Node object; its conditions stay.
func (w *world) kubeNode(args []string) {
	pods, taints := "110", []object{}
	marks := map[string]map[string]string{"-label": {}, "-annotation": {}}
	for i := 0; i < len(args); i++ {
		count, counted := strings.CutPrefix(args[i], "pods=")
		switch {
		case counted:
			pods = count
		case args[i] == "cordoned":
			taints = append(taints, object{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
		case marks[args[i]] != nil && i+1 < len(args):
			key, value, _ := strings.Cut(args[i+1], "=")
			marks[args[i]][key] = value
			i++
		default:
			w.fail("%s", kubeUsage)
		}
	}
	name := w.rig.Node
	w.api.SetNode(name, object{
		"metadata": object{"name": name, "uid": "uid-of-" + name, "labels": marks["-label"], "annotations": marks["-annotation"]},
		"spec":     object{"taints": taints}, "status": object{"capacity": object{"pods": pods}},
	})
}

// eniConfig makes an ENIConfig of a subnet and security groups by their names in the script, or by any words.
func (w *world) eniConfig(name string, args []string) {
	spec := object{}
	if len(args) > 0 {
		spec["subnet"] = w.resource(args[0])
		groups := []string{}
		for _, g := range args[1:] {
			groups = append(groups, w.resource(g))
		}
		spec["securityGroups"] = groups
	}
	w.api.Set("eniconfigs", name, object{"metadata": object{"name": name}, "spec": spec})
}

// kubeApply sets the objects of a file.
func (w *world) kubeApply(file string) {
	words := map[string]string{
		"ENIConfig": "eniconfigs", "NodeSettings": "nodesettings", "Namespace": "namespaces", "Service": "services",
		"NetworkPolicy": "networkpolicies", "ApplicationNetworkPolicy": "applicationnetworkpolicies",
	}
	for text := range strings.SplitSeq(w.ts.ReadFile(file), "\n---\n") {
		var o object
		w.check("read "+file, yaml.Unmarshal([]byte(text), &o))
		meta, _ := o["metadata"].(object)
		name, _ := meta["name"].(string)
		kind, _ := o["kind"].(string)
		word := words[kind]
		if word == "" || name == "" {
			w.fail("%s: want a name and a kind of %s, have %v %q", file, strings.Join(slices.Sorted(maps.Keys(words)), ", "), o["kind"], name)
		}
		w.api.Set(word, name, o)
	}
}

// kubeUntil waits for an event, or for a condition of the Node whose turn it is.
func (w *world) kubeUntil(what, pattern string) {
	re, err := regexp.Compile(pattern)
	w.check("kube until", err)
	read := map[string]func() []string{"event": w.api.Events, "condition": func() []string { return w.api.Conditions(w.rig.Node) }}[what]
	if read == nil {
		w.fail("%s", kubeUsage)
	}
	if missing := eventually(patience, func() string {
		lines := strings.Join(read(), "\n")
		if re.MatchString(lines) {
			return ""
		}
		return fmt.Sprintf("no %s matches %s, there is:\n%s", what, pattern, lines)
	}); missing != "" {
		w.fail("still not so after %s: %s", patience, missing)
	}
}
