package blackbox

import (
	"fmt"
	"net/netip"
	"strings"
)

const floodUsage = `flood pods LABEL COUNT | ports POLICY LABEL PEER COUNT`

// flood makes more than anybody writes by hand: pods of other nodes with a label and an address each, after those that are there;
// a policy whose ingress allows a peer so many ranges of two ports, from 7000, 7004 and so on.
func cmdFlood(w *world, _ bool, args []string) {
	if len(args) < 3 {
		w.fail("%s", floodUsage)
	}
	what, args := args[0], args[1:]
	count := w.number(args[len(args)-1])
	switch {
	case what == "pods" && len(args) == 2:
		key, value, _ := strings.Cut(args[0], "=")
		for i := w.flooded; i < w.flooded+count; i++ {
			addr, name := floodAddr(i), fmt.Sprint("flood-", i)
			w.api.Set("pods", name, object{
				"metadata": object{"namespace": "default", "name": name, "uid": name, "labels": object{key: value}},
				"spec":     object{"nodeName": "elsewhere"}, "status": object{"phase": "Running", "podIP": addr.String()},
			})
		}
		w.flooded += count
	case what == "ports" && len(args) == 4:
		ports := []object{}
		for i := range count {
			port := servicePort + 4*i
			ports = append(ports, object{"protocol": "TCP", "port": port, "endPort": port + 1})
		}
		key, value, _ := strings.Cut(args[2], "=")
		w.floodPolicy(args[0], args[1], object{"from": []object{podsOf(key, value)}, "ports": ports})
	default:
		w.fail("%s", floodUsage)
	}
}

func (w *world) floodPolicy(name, label string, rule object) {
	key, value, _ := strings.Cut(label, "=")
	w.api.Set("networkpolicies", name, networkPolicy(name, object{key: value}, "ingress", rule))
}

// floodAddr is an address of a block that nobody else uses.
func floodAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})
}
