package blackbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/berth-net/berth/internal/testkit/flow"
	"github.com/berth-net/berth/internal/testkit/rig"
)

// Ways in which a pair of pods is allowed and denied by turns.
var flipKinds = []string{"rules", "policy", "peer", "namespace", "egress", "subject"}

// flip is such a pair. Its policies and labels are nobody else's; pods of this name are in no other policy.
type flip struct {
	how            string
	server, caller *rig.Pod
	flows          []*flow.Member
	turns          int
	denied, late   int // messages that were sent while they were denied for certain, and those of them that arrived
	passed         int // messages that were sent while they were allowed for certain
	missing        int // and those of them, or their echoes, that did not arrive
	slowest        time.Duration
}

// run flips until ctx ends, and judges what was sent in between. It leaves the pair as it is.
func (f *flip) run(ctx context.Context, s *storm) {
	for allowed := false; ctx.Err() == nil; allowed = !allowed {
		began := time.Now()
		f.change(s, allowed)
		f.turns++
		if why := f.inForce(s, allowed); why != "" {
			s.trouble("flip by %s to allowed=%t is not in force: %s", f.how, allowed, why)
			return
		}
		f.slowest = max(f.slowest, time.Since(began))
		first := f.marks()
		select {
		case <-ctx.Done():
		case <-time.After(holdTime):
		}
		last := f.marks()
		<-time.After(wayTime) // what has a lower number has been judged, and its echo
		for i, m := range f.flows {
			t := m.Between(first[i], last[i])
			if allowed {
				f.passed, f.missing = f.passed+t.Sent, f.missing+t.Lost()
			} else {
				f.denied, f.late = f.denied+t.Sent, f.late+t.Arrived
			}
		}
	}
}

func (f *flip) marks() []uint64 {
	all := make([]uint64, len(f.flows))
	for i, m := range f.flows {
		all[i] = m.Next()
	}
	return all
}

// change tells the API server.
func (f *flip) change(s *storm, allowed bool) {
	server, caller := f.server.Name, f.caller.Name
	subject, name := object{"app": server}, "flip-"+f.how
	yes := map[bool]string{true: "yes", false: "no"}[allowed]
	set := func(o object) { s.api.Set("networkpolicies", name, o) }
	switch f.how {
	case "rules":
		set(networkPolicy(name, subject, "ingress", from(podsOf("app", map[bool]string{true: caller, false: "nobody"}[allowed]))))
	case "policy":
		if allowed {
			s.api.Set("networkpolicies", name, nil)
		} else {
			set(networkPolicy(name, subject, "ingress"))
		}
	case "peer":
		if f.turns == 0 {
			set(networkPolicy(name, subject, "ingress", from(podsOf("open", "yes"))))
		}
		s.api.SetPod(caller, object{"app": caller, "open": yes})
	case "namespace":
		if f.turns == 0 {
			set(networkPolicy(name, subject, "ingress", from(object{"namespaceSelector": object{"matchLabels": object{"gate": "yes"}}})))
		}
		s.setDefault("gate", yes)
	case "egress":
		cidr := map[bool]string{true: f.server.Addr.String(), false: "192.0.2.1"}[allowed] + "/32"
		set(networkPolicy(name, object{"app": caller}, "egress", to(object{"ipBlock": object{"cidr": cidr}})))
	case "subject":
		if f.turns == 0 {
			set(networkPolicy(name, object{"app": server, "shut": "yes"}, "ingress"))
		}
		s.api.SetPod(server, object{"app": server, "shut": map[bool]string{true: "no", false: "yes"}[allowed]})
	}
}

// inForce waits until a change is in force.
func (f *flip) inForce(s *storm, allowed bool) string {
	subject, other, direction := f.server, f.caller, "ingress"
	if f.how == "egress" {
		subject, other, direction = f.caller, f.server, "egress"
	}
	return s.mapsSay(subject.Name, direction, other.Addr.String(), "udp", flow.SwarmPort, allowed)
}

// mapsSay waits until the maps say of a pod's direction and another address that it is allowed, or that it is not, and then until the
// agent's loop is done with what made them say it.
func (w *world) mapsSay(pod, direction, address, protocol string, port int, allowed bool) string {
	query := url.Values{
		"namespace": {"default"}, "pod": {pod}, "direction": {direction}, "address": {address}, "protocol": {protocol}, "port": {strconv.Itoa(port)},
	}
	return eventually(patience, func() string {
		var said struct {
			By      string
			Allowed bool
		}
		if err := w.agent.Fetch("/v1/policy?"+query.Encode(), &said); err != nil {
			return err.Error()
		}
		if said.Allowed != allowed {
			return "the maps say otherwise, by " + said.By
		}
		var done any
		if err := w.agent.Fetch("/v1/berth", &done); err != nil {
			return err.Error()
		}
		return ""
	})
}

// setDefault changes a label of the namespace that the pods are in; the others stay.
func (s *storm) setDefault(key, value string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.labels[key] = value
	labels := object{}
	for k, v := range s.labels {
		labels[k] = v
	}
	s.api.Set("namespaces", "default", object{"kind": "Namespace", "metadata": object{"name": "default", "labels": labels}})
}

// noise is what changes all the time and affects no flow of the storm. Pods that are steady or forbidden are judged by other sets each
// time, and the addresses of steady callers are in other classes.
type noise struct {
	*storm
	dice *rand.Rand
}

const (
	extraPolicies = 24
	strangers     = 200 // pods of other nodes that policies name
	hues          = 6
)

func newNoise(s *storm, seed uint64) *noise {
	return &noise{s, rand.New(rand.NewPCG(seed, extraPolicies))}
}

// run makes a change at each tick, and tells how many.
func (n *noise) run(ctx context.Context) (made int) {
	tick := time.NewTicker(stormChange)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return made
		case <-tick.C:
		}
		for ; made < int(time.Since(began)/stormChange); made++ {
			n.change()
		}
	}
}

func (n *noise) change() {
	hue := strconv.Itoa(n.dice.IntN(hues))
	switch n.dice.IntN(10) {
	case 0, 1, 2, 3:
		n.extra(fmt.Sprint("extra-", n.dice.IntN(extraPolicies)), hue)
	case 4:
		n.api.Set("networkpolicies", fmt.Sprint("extra-", n.dice.IntN(extraPolicies)), nil)
	case 5, 6:
		i := n.dice.IntN(4)
		n.api.SetPod(fmt.Sprint("client-", i), object{"app": "client", "hue": hue})
	case 7, 8:
		n.stranger(n.dice.IntN(strangers), hue)
	case 9:
		if n.dice.IntN(2) == 0 {
			n.setDefault("hue", hue)
			return
		}
		name := "other-" + hue
		n.api.Set("namespaces", name, object{"kind": "Namespace", "metadata": object{"name": name, "labels": object{"kubernetes.io/metadata.name": name, "hue": strconv.Itoa(n.dice.IntN(hues))}}})
	}
}

// extra makes or changes a policy that allows more to pods that are isolated anyway: not what they are denied, or what they are allowed
// already.
func (n *noise) extra(name, hue string) {
	port := 1 + n.dice.IntN(flow.SwarmPort-1)
	ports := []object{{"protocol": "UDP", "port": port, "endPort": port + n.dice.IntN(20000)}}
	cidr := fmt.Sprintf("198.51.%d.0", n.dice.IntN(256))
	block := object{"ipBlock": object{"cidr": cidr + "/24", "except": []string{cidr + "/30"}}}
	stranger := object{
		"podSelector": object{"matchLabels": object{"stranger": hue}}, "namespaceSelector": object{"matchLabels": object{"hue": strconv.Itoa(n.dice.IntN(hues))}},
	}
	var o object
	switch n.dice.IntN(4) {
	case 0: // what steady callers of a hue are allowed anyway
		o = networkPolicy(name, object{"app": "open"}, "ingress", object{"from": []object{podsOf("hue", hue), stranger}, "ports": ports}, from(block))
	case 1:
		o = networkPolicy(name, object{"app": "client"}, "egress", object{"to": []object{block, stranger}, "ports": ports})
	case 2: // other addresses, and other ports of those that are forbidden
		o = networkPolicy(name, object{"app": "closed"}, "ingress", from(block, stranger),
			object{"from": []object{podsOf("app", "client")}, "ports": []object{{"protocol": "UDP", "port": port}}})
	case 3:
		o = networkPolicy(name, object{"app": "muzzled"}, "egress", to(block, stranger), object{"to": []object{podsOf("app", "open")}, "ports": []object{{"protocol": "TCP", "port": port}}})
	}
	n.api.Set("networkpolicies", name, o)
}

// stranger makes, changes or removes a pod of another node.
func (n *noise) stranger(i int, hue string) {
	name := fmt.Sprint("stranger-", i)
	if n.dice.IntN(4) == 0 {
		n.api.Set("pods", name, nil)
		return
	}
	addr := fmt.Sprintf("10.9.%d.%d", i/100, i%100+1)
	n.api.Set("pods", name, object{
		"metadata": object{"namespace": fmt.Sprint("other-", i%hues), "name": name, "uid": "uid-" + name, "labels": object{"stranger": hue}},
		"spec":     object{"nodeName": "elsewhere"}, "status": object{"phase": "Running", "podIP": addr, "podIPs": []object{{"ip": addr}}},
	})
}
