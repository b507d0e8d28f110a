package blackbox

import (
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/berth-net/berth/internal/testkit"
)

// maps FROM TO[:PORT] allowed|denied asks the agent what its maps say of the first packet from FROM to the service of pod TO, or to
// another port of it, until that is the word.
func cmdMaps(w *world, neg bool, args []string) {
	if len(args) != 3 {
		w.fail("maps FROM TO[:PORT] allowed|denied")
	}
	from, _ := w.place(args[0])
	to, port, explicit := strings.Cut(args[1], ":")
	if !explicit {
		port = strconv.Itoa(servicePort)
	}
	query := url.Values{
		"namespace": {"default"}, "pod": {to}, "direction": {"ingress"}, "address": {from.String()}, "protocol": {"tcp"}, "port": {port},
	}
	var said struct {
		Interface, By string
		Allowed       bool
	}
	w.expect(neg, patience, func(time.Duration) error {
		if err := w.agent.Fetch("/v1/policy?"+query.Encode(), &said); err != nil {
			return err
		}
		if word := map[bool]string{true: "allowed", false: "denied"}[said.Allowed]; word != args[2] {
			return fmt.Errorf("the maps say %s by %s", word, said.By)
		}
		return nil
	})
	w.printf("%s: by %s\n", said.Interface, said.By)
}

// tamper POD opens a pod for ingress in the maps of the kernel, behind the agent's back.
func cmdTamper(w *world, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(w.rig.Dir, "bpf", "berth", "gen-*"))
	if err != nil || len(found) != 1 {
		w.fail("generations of maps %v, %v, want one", found, err)
	}
	var said struct{ Slot uint32 }
	w.check("tamper", w.agent.Fetch("/v1/policy?namespace=default&direction=ingress&address=192.0.2.1&protocol=tcp&port=1&pod="+args[0], &said))
	m, err := ebpf.LoadPinnedMap(filepath.Join(found[0], "pods"), nil)
	w.check("tamper", err)
	defer func() { _ = m.Close() }()
	var sets uint64
	w.check("tamper", m.Lookup(said.Slot, &sets))
	if sets&math.MaxUint32 == 0 {
		w.fail("ingress of %s is open already", args[0])
	}
	w.check("tamper", m.Put(said.Slot, sets&^math.MaxUint32))
}

// trace FROM TO [ARG…] runs berth trace for the service of TO, with the maps of the agent.
func cmdTrace(w *world, neg bool, args []string) {
	line := append([]string{
		"trace", "--kubeconfig", w.ts.Getenv("kubeconfig"), "--from", "default/" + args[0], "--to", "default/" + args[1],
		"--port", strconv.Itoa(servicePort), "--maps", "unix:" + filepath.Join(w.rig.Dir, "i"),
	}, args[2:]...)
	for _, name := range args[:2] {
		addr, _ := w.place(name)
		w.api.Started(name, w.rig.Node, addr.String())
	}
	out, err := testkit.NetnsOutput(w.nodeSpace(), filepath.Join(w.rig.Bin, "berth"), line...)
	w.printf("%s", out)
	if neg != (err != nil) {
		w.outcome(neg, err)
	}
}
