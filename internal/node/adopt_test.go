package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/node/checkpoint"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// after is a node on which the Amazon VPC CNI ran: its interface has secondary addresses, of which the first three are
// those of the live pods web, db and mq, and its file is dir/ipam.json. The agent is not started yet.
func after(t *testing.T, pods ...string) (h *house, addrs []netip.Addr, file string) {
	t.Helper()
	h = build(t, "10.0.0.0/24")
	h.booted = time.Now().Add(-time.Hour)
	six := 6
	out, err := h.sim.AssignPrivateIpAddresses(vpcsim.Caller{}, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: h.eni(), SecondaryPrivateIpAddressCount: &six})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range out.AssignedPrivateIpAddresses {
		addrs = append(addrs, netip.MustParseAddr(a.PrivateIpAddress))
	}
	file = filepath.Join(t.TempDir(), "ipam.json")
	var list []string
	for i, name := range pods {
		h.wiredByTheOther(name, addrs[i])
		list = append(list, line(name, addrs[i]))
	}
	writeCheckpoint(t, file, list...)
	h.keepIn(file)
	return h, addrs, file
}

// keepIn gives the next run its checkpoint.
func (h *house) keepIn(file string) *checkpoint.File {
	f := checkpoint.New(file, slog.New(slog.DiscardHandler))
	h.ports.Checkpoint = f
	return f
}

// line is the other CNI's entry of a pod.
func line(name string, addr netip.Addr) string {
	return fmt.Sprintf(`{"networkName":"","containerID":"c-%s","ifName":"eth0","ipv4":"%s","allocationTimestamp":1,"metadata":{"k8sPodNamespace":"default","k8sPodName":"%s","interfacesCount":1}}`, name, addr, name)
}

func writeCheckpoint(t *testing.T, file string, entries ...string) {
	t.Helper()
	text := `{"version":"vpc-cni-ipam/1","allocations":[` + strings.Join(entries, ",") + `]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wiredByTheOther puts a pod into the kernel as the other CNI leaves it: its link has no label.
func (h *house) wiredByTheOther(name string, addr netip.Addr) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	h.host.pods[addr] = hostnet.Pod{Namespace: "default", Name: name, Addrs: []netip.Addr{addr}}
}

// podOf is the pod that the agent says has an address, empty for none.
func (h *house) podOf(addr netip.Addr) string {
	h.t.Helper()
	if a := h.secondary(addr); a.Pod != nil {
		return a.Pod.Name
	}
	return ""
}

func (h *house) report() node.Report {
	h.t.Helper()
	r, err := h.node.Report(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestPodsOfTheExistingCNIAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, _ := after(t, "web", "db", "mq")
		h.start()
		defer h.close()
		<-h.node.Ready()
		for i, name := range []string{"web", "db", "mq"} {
			if got := h.podOf(addrs[i]); got != name {
				t.Errorf("%s is pod %q's, want %s", addrs[i], got, name)
			}
		}
		if r := h.report(); r.Tally.InUse != 3 || r.Tally.Held != 3 { // those that are free are in doubt for a minute
			t.Errorf("%+v", r.Tally)
		}
		if _, err := h.node.Check(t.Context(), pod("web"), nil); err != nil {
			t.Errorf("check: %v", err)
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("db")}); err != nil {
			t.Fatal(err)
		}
		got, errs := h.addAll(names("new-", 8)...)
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		for name, a := range got {
			if a == addrs[0] || a == addrs[1] || a == addrs[2] {
				t.Errorf("%s got %s, which another pod has or had a moment ago", name, a)
			}
		}
	})
}

// The other CNI writes its file before its plugin makes the link: its agent may have ended in between, and the plugin goes on.
func TestAddressOfAPodThatTheOtherCNIIsStillWiringIsGivenToNobody(t *testing.T) {
	for _, tt := range []struct {
		name   string
		prefix bool          // the addresses are of a prefix, of which another pod has one
		booted time.Duration // how long ago the host did
	}{{"single addresses", false, time.Hour}, {"a prefix", true, time.Hour}, {"a host that has just booted", false, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, addrs, file := after(t)
				h.booted = time.Now().Add(-tt.booted)
				entries := []string{line("late", addrs[0])}
				if tt.prefix {
					addrs = h.prefixByTheOther()
					h.wiredByTheOther("web", addrs[1])
					entries = []string{line("late", addrs[0]), line("web", addrs[1])}
				}
				writeCheckpoint(t, file, entries...)
				h.start()
				defer h.close()
				<-h.node.Ready()
				got, errs := h.addAll(names("new-", 6)...)
				if len(errs) > 0 {
					t.Fatal(errs[0])
				}
				for name, a := range got {
					if slices.Contains(addrs, a) {
						t.Errorf("%s got %s at once: the other CNI's plugin may be wiring it, or it cools down there", name, a)
					}
				}
				<-time.After(20 * time.Second)
				h.wiredByTheOther("late", addrs[0])
				<-time.After(2 * time.Minute)
				if !h.held(addrs[0]) {
					t.Errorf("%s is not held; it is pod %q's", addrs[0], h.podOf(addrs[0]))
				}
			})
		})
	}
}

// prefixByTheOther assigns a prefix to the node's interface, and returns its addresses.
func (h *house) prefixByTheOther() []netip.Addr {
	h.t.Helper()
	one := 1
	out, err := h.sim.AssignPrivateIpAddresses(vpcsim.Caller{}, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: h.eni(), Ipv4PrefixCount: &one})
	if err != nil {
		h.t.Fatal(err)
	}
	return vpc.PrefixBlock(netip.MustParsePrefix(out.AssignedIpv4Prefixes[0].Ipv4Prefix)).Addrs()
}

// eni is the node's interface.
func (h *house) eni() (id string) {
	for _, i := range h.sim.Topology().Interfaces {
		id = string(i.ID)
	}
	return id
}

// wantingHost remembers for which pods it was asked to make rules.
type wantingHost struct {
	*memoryHost
	wanted chan []hostnet.Pod
}

func (h wantingHost) Reconcile(ctx context.Context, cfg hostnet.Config) ([]string, []hostnet.Seen, error) {
	select {
	case h.wanted <- cfg.Pods:
	default:
	}
	return h.memoryHost.Reconcile(ctx, cfg)
}

// The rules of a pod say by which interface it sends. While nobody knows which interface has its address, they stay as they
// are: any other would cut it off.
func TestPodWhoseInterfaceIsNotKnownKeepsItsRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, file := after(t, "web")
		unlisted := netip.MustParseAddr("10.0.0.200")
		h.wiredByTheOther("db", unlisted)
		writeCheckpoint(t, file, line("web", addrs[0]), line("db", unlisted))
		host := wantingHost{h.host, make(chan []hostnet.Pod, 1)}
		h.ports.Host = host
		h.start()
		defer h.close()
		<-h.node.Ready()
		if pods := <-host.wanted; len(pods) != 1 || pods[0].Name != "web" || pods[0].ENI == "" {
			t.Errorf("rules are made for %+v", pods)
		}
	})
}

// The existing CNI drops such an entry, and then gives the address away when EC2 lists it again (amazon-vpc-cni-k8s#3824).
func TestLivePodWhoseAddressEC2DoesNotListIsKeptAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, file := after(t)
		free, unlisted := addrs[5], netip.MustParseAddr("10.0.0.200")
		h.wiredByTheOther("web", unlisted)
		writeCheckpoint(t, file, line("web", unlisted))
		h.start()
		defer h.close()
		<-h.node.Ready()
		<-time.After(6 * time.Minute) // several reads of EC2
		r := h.report()
		if len(r.Lost) != 1 || !strings.Contains(r.Lost[0], "10.0.0.200 of pod default/web") {
			t.Errorf("lost: %q", r.Lost)
		}
		if _, err := h.node.Check(t.Context(), pod("web"), nil); err != nil {
			t.Errorf("its record is gone: %v", err)
		}
		eni := h.eni()
		_, err := h.sim.UnassignPrivateIpAddresses(vpcsim.Caller{}, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: []string{free.String()}})
		if err == nil {
			_, err = h.sim.AssignPrivateIpAddresses(vpcsim.Caller{}, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: []string{unlisted.String()}})
		}
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(11 * time.Minute)
		if got := h.podOf(unlisted); got != "web" {
			t.Errorf("EC2 lists it again, and it is pod %q's", got)
		}
	})
}

func TestAddressesThatTheCheckpointNamesTwiceAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, file := after(t, "web", "db")
		writeCheckpoint(t, file, line("web", addrs[0]), line("db", addrs[0]), line("db", addrs[1]))
		f := h.keepIn(file)
		h.start()
		defer h.close()
		<-h.node.Ready()
		<-time.After(2 * time.Minute)
		if !h.held(addrs[0]) || !h.held(addrs[1]) {
			t.Errorf("held: %t, %t", h.held(addrs[0]), h.held(addrs[1]))
		}
		if r := h.report(); len(r.Degraded) == 0 || !strings.Contains(strings.Join(r.Degraded, "\n"), "contradicts the kernel about 2 live addresses") {
			t.Errorf("degraded: %q", r.Degraded)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file + ".kept"); err != nil {
			t.Errorf("the file is not kept aside: %v", err)
		}
	})
}

func TestDamagedCheckpointLeavesLivePodsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, file := after(t, "web")
		if err := os.WriteFile(file, []byte(`{"version":"vpc-cni-ipam/9"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		h.start()
		defer h.close()
		<-h.node.Ready()
		if !h.held(addrs[0]) {
			t.Error("the live pod's address is not held")
		}
		if r := h.report(); !strings.Contains(strings.Join(r.Degraded, "\n"), `its version is "vpc-cni-ipam/9"`) {
			t.Errorf("degraded: %q", r.Degraded)
		}
	})
}

// existing -> ours -> existing -> ours: each time the file of who ran last names the pods, and the journal what cools.
func TestThereAndBackAndThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addrs, file := after(t, "web", "db", "mq")
		f := h.keepIn(file)
		h.start()
		<-h.node.Ready()
		got, errs := h.addAll("ours", "brief")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("brief")}); err != nil {
			t.Fatal(err)
		}
		h.close()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		back := readCheckpoint(t, file)
		if len(back) != 4 || back["ours"] != got["ours"] || back["web"] != addrs[0] {
			t.Fatalf("the file for the way back has %v", back)
		}

		// There, db goes, and other comes with the address that mq had.
		h.host.mu.Lock()
		delete(h.host.pods, addrs[1])
		h.host.mu.Unlock()
		h.wiredByTheOther("other", addrs[2])
		writeCheckpoint(t, file, line("web", addrs[0]), line("other", addrs[2]), line("ours", got["ours"]))

		f = h.keepIn(file)
		h.start()
		defer h.close()
		<-h.node.Ready()
		for addr, want := range map[netip.Addr]string{addrs[0]: "web", addrs[1]: "", addrs[2]: "other", got["ours"]: "ours", got["brief"]: ""} {
			if name := h.podOf(addr); name != want {
				t.Errorf("%s is pod %q's, want %q", addr, name, want)
			}
		}
		if r := h.report(); r.Tally.InUse != 3 || r.Tally.Cooling != 2 { // db's and brief's
			t.Errorf("%+v", r.Tally)
		}
		<-time.After(2 * time.Second)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if now := readCheckpoint(t, file); len(now) != 3 || now["other"] != addrs[2] {
			t.Errorf("the file has %v", now)
		}
	})
}

func readCheckpoint(t *testing.T, file string) map[string]netip.Addr {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := checkpoint.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]netip.Addr{}
	for _, e := range entries {
		pods[e.Name] = e.Addr
	}
	return pods
}

// A run whose journal was lost knows its own pods again by its own file.
func TestLostJournalIsMadeGoodByTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.booted = time.Now().Add(-time.Hour)
		file := filepath.Join(t.TempDir(), "ipam.json")
		f := h.keepIn(file)
		h.start()
		<-h.node.Ready()
		got, errs := h.addAll("web", "db")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.close()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		h.journal.records = nil
		h.keepIn(file)
		h.start()
		defer h.close()
		<-h.node.Ready()
		if h.podOf(got["web"]) != "web" || h.podOf(got["db"]) != "db" {
			t.Errorf("%+v", h.report().Tally)
		}
	})
}

// countingCheckpoint counts what is handed over.
type countingCheckpoint struct {
	*checkpoint.File
	saves int
	last  []pool.Allocation
}

func (c *countingCheckpoint) Save(pods []pool.Allocation) { c.saves, c.last = c.saves+1, pods }

func TestCheckpointIsHandedOverOnceASecondAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		c := &countingCheckpoint{File: checkpoint.New(filepath.Join(t.TempDir(), "ipam.json"), slog.New(slog.DiscardHandler))}
		h.ports.Checkpoint = c
		h.start()
		<-h.node.Ready()
		if _, errs := h.addAll(names("p", 20)...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if c.saves > 5 || len(c.last) != 20 {
			t.Errorf("handed over %d times, at last with %d pods", c.saves, len(c.last))
		}
		before := c.saves
		<-time.After(time.Minute)
		synctest.Wait()
		if c.saves != before {
			t.Errorf("handed over %d times while nothing changed", c.saves-before)
		}
		h.close()
		if c.saves != before+1 || len(c.last) != 20 {
			t.Errorf("at the end: %d times, %d pods", c.saves-before, len(c.last))
		}
	})
}
