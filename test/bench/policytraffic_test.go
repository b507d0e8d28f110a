package bench

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/rig"
)

const (
	trafficPairs  = 10
	trafficSlices = 40 // of a pair, bare and policed by turns
	trafficSlice  = 50 * time.Millisecond
)

// policyTraffic compares TCP between two policed pods of a node that has 1,000 policies with TCP between two bare veth pairs that are
// wired in the same namespace in the same way: the same routes, the same nftables, no programs. Policed and bare are measured by
// turns of a twentieth of a second, and the row is the median of what one is of the other. Who sends and who gets a stream are on two
// processors, who asks and who answers on one: where the scheduler puts them makes more of a difference than anything else.
func policyTraffic(t *testing.T) []row {
	r := rig.New(t, rig.Options{})
	api := manyPolicies(r)
	both := object{"podSelector": object{"matchLabels": object{"traffic": "yes"}}}
	api.Set("networkpolicies", "traffic", object{
		"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": object{"name": "traffic", "namespace": "default", "uid": "traffic"},
		"spec": object{
			"podSelector": object{"matchLabels": object{"traffic": "yes"}}, "policyTypes": []string{"Ingress", "Egress"},
			"ingress": []object{{"from": []object{both}}}, "egress": []object{{"to": []object{both}}},
		},
	})
	enforce(t, r, api, 4)
	var policed [2]rig.Pod
	for i, name := range []string{"first-0", "first-1"} {
		api.SetPod(name, object{"app": name, "traffic": "yes"})
		policed[i] = r.NewPod()
		policed[i].Name = name
		if c := r.Add(&policed[i]); c.Err != nil {
			t.Fatalf("ADD: %v", c.Err)
		}
	}
	bare := [2]rig.Pod{r.BarePod(0, netip.MustParseAddr("10.0.200.1")), r.BarePod(1, netip.MustParseAddr("10.0.200.2"))}
	testkit.Eventually(t, "programs attached for good", func() bool { return settled(t, r, policed) })
	lines := [2]line{connect(t, bare), connect(t, policed)}
	var streams, requests []float64
	for range trafficPairs {
		var bytes, turns [2]float64 // a second
		for i := range trafficSlices {
			which := i % 2
			bytes[which] += lines[which].stream(t) / (trafficSlices / 2)
			turns[which] += lines[which].requests(t) / (trafficSlices / 2)
		}
		streams, requests = append(streams, bytes[1]/bytes[0]), append(requests, turns[1]/turns[0])
		t.Logf("TCP stream: bare %.2f, policed %.2f Gbit/s; requests: bare %.0f, policed %.0f a second", bytes[0]*8/1e9, bytes[1]*8/1e9, turns[0], turns[1])
	}
	return []row{
		{"TCP throughput, two policed pods, 1,000 policies, of a bare veth pair's, median of 10", median(streams), "×", none, 0.95, true},
		{"TCP requests a second, two policed pods, 1,000 policies, of a bare veth pair's, median of 10", median(requests), "×", none, 0.95, true},
	}
}

// settled tells whether the programs of pods are attached by TCX, as they are ten seconds after the last pod has come.
func settled(t *testing.T, r *rig.Rig, pods [2]rig.Pod) bool {
	t.Helper()
	for _, p := range pods {
		link := hostnet.VethName("eni", "default", p.Name)
		out, err := testkit.NetnsOutput(r.Fabric.Namespace(r.Instance), testkit.RequireProgram(t, "tc"), "filter", "show", "dev", link, "ingress")
		if err != nil {
			t.Fatalf("tc: %v: %s", err, out)
		}
		if out != "" {
			return false
		}
	}
	return true
}

// pin has the calling goroutine run on the first or the last of the processors that it may run on, until what it returns is called.
func pin(last int) (unpin func()) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return runtime.UnlockOSThread
	}
	for cpu := range 8 * len(all) * 8 {
		if all.IsSet(cpu) && (last == 1 || one.Count() == 0) {
			one.Zero()
			one.Set(cpu)
		}
	}
	_ = unix.SchedSetaffinity(0, &one)
	return func() {
		_ = unix.SchedSetaffinity(0, &all)
		runtime.UnlockOSThread()
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// line is a connection between two pods.
type line struct{ from, to *os.File }

// connect makes one, which blocks.
func connect(t *testing.T, pods [2]rig.Pod) line {
	t.Helper()
	var l net.Listener
	testkit.InNetns(t, pods[1].NetNS, func() (err error) {
		l, err = net.Listen("tcp4", ":0")
		return err
	})
	defer func() { _ = l.Close() }()
	var client net.Conn
	testkit.InNetns(t, pods[0].NetNS, func() (err error) {
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return err
		}
		client, err = net.DialTimeout("tcp4", net.JoinHostPort(pods[1].Addr.String(), port), 10*time.Second)
		return err
	})
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return line{blocking(t, client), blocking(t, server)}
}

func blocking(t *testing.T, c net.Conn) *os.File {
	t.Helper()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	_ = c.Close()
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		t.Fatal(err)
	}
	return f
}

// stream is how many bytes a second arrive of what is sent for a slice of time.
func (l line) stream(t *testing.T) float64 {
	t.Helper()
	sent, began := make(chan int, 1), time.Now()
	go func() {
		defer pin(0)()
		data, sum := make([]byte, 256<<10), 0
		for time.Since(began) < trafficSlice {
			n, err := unix.Write(int(l.from.Fd()), data)
			if err != nil {
				break
			}
			sum += n
		}
		sent <- sum + 1
		_, _ = unix.Write(int(l.from.Fd()), data[:1]) // after it the other end knows how many there are
	}()
	defer pin(1)()
	buf, got, all := make([]byte, 256<<10), 0, -1
	for got != all {
		n, err := unix.Read(int(l.to.Fd()), buf)
		if err != nil || n == 0 {
			t.Fatalf("the stream ended: %v", err)
		}
		got += n
		if all < 0 && time.Since(began) >= trafficSlice {
			select {
			case all = <-sent:
			default:
			}
		}
	}
	return float64(got) / time.Since(began).Seconds()
}

// requests is how many messages of a byte are answered in a second, one after the other.
func (l line) requests(t *testing.T) float64 {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer pin(0)()
		b := make([]byte, 1)
		for b[0] != last {
			_, err := unix.Read(int(l.to.Fd()), b)
			if _, e := unix.Write(int(l.to.Fd()), b); err != nil || e != nil {
				done <- errors.Join(err, e)
				return
			}
		}
		done <- nil
	}()
	defer pin(0)()
	turn := func(value byte) {
		b := []byte{value}
		_, err := unix.Write(int(l.from.Fd()), b)
		n, e := unix.Read(int(l.from.Fd()), b)
		if err != nil || e != nil || n != 1 {
			t.Fatalf("no answer: %v", errors.Join(err, e))
		}
	}
	for range 100 { // the other end has come
		turn(0)
	}
	turns, began := 0, time.Now()
	for ; time.Since(began) < trafficSlice; turns++ {
		turn(0)
	}
	rate := float64(turns) / time.Since(began).Seconds()
	turn(last)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return rate
}

// last is a request after which none comes.
const last = 1
