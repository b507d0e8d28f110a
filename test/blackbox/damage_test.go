package blackbox

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/testkit"
)

// node [-pod POD] PROGRAM ARG… runs a program in the network namespace of the node, or of a pod. In arguments, @POD is the
// pod's address and @POD.veth its link on the node.
func cmdNode(w *world, neg bool, args []string) {
	space := w.nodeSpace()
	if args[0] == "-pod" {
		_, space = w.place(args[1])
		args = args[2:]
	}
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "@"); ok {
			pod, veth := strings.CutSuffix(name, ".veth")
			if args[i] = w.pod(pod).Addr.String(); veth {
				args[i] = hostnet.VethName("eni", "default", pod)
			}
		}
	}
	out, err := testkit.NetnsOutput(space, args[0], args[1:]...)
	w.printf("%s", out)
	w.outcome(neg, err)
}

// journal cut BYTES | flip PERCENT | delete changes the agent's journal on disk.
func cmdJournal(w *world, neg bool, args []string) {
	path := w.rig.Journal()
	data, err := os.ReadFile(path)
	w.check("read journal", err)
	n := 0
	if len(args) == 2 {
		n, err = strconv.Atoi(args[1])
		w.check("journal "+args[0], err)
	}
	switch args[0] {
	case "cut":
		err = os.Truncate(path, int64(max(len(data)-n, 0)))
	case "flip":
		data[min(len(data)*n/100, len(data)-1)] ^= 4
		err = os.WriteFile(path, data, 0o600)
	case "delete":
		err = os.Remove(path)
	default:
		w.fail("journal cut BYTES | flip PERCENT | delete")
	}
	w.outcome(neg, err)
}

// disk small makes the agent's directory a file system of 64 KiB, before the agent starts; disk full fills it, disk free
// makes room again.
func cmdDisk(w *world, _ bool, args []string) {
	dir := w.rig.State()
	filler := filepath.Join(dir, "filler")
	switch args[0] {
	case "small":
		w.check("make directory", os.MkdirAll(dir, 0o755))
		w.check("mount", unix.Mount(testkit.NamePrefix()+"-disk", dir, "tmpfs", 0, "size=64k"))
		w.tb.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				w.tb.Errorf("unmount: %v", err)
			}
		})
	case "full":
		f, err := os.Create(filler)
		w.check("create filler", err)
		for err == nil {
			_, err = f.Write(make([]byte, 1<<10))
		}
		if !errors.Is(err, unix.ENOSPC) {
			w.fail("fill: %v", err)
		}
		w.check("close filler", f.Close())
	case "free":
		w.check("remove filler", os.Remove(filler))
	default:
		w.fail("disk small | full | free")
	}
}

// reboot takes from the node what a reboot takes: the agent, the pods with their namespaces, and all that was configured in
// the kernel. The journal stays. A pod that is gone keeps its name until cni del, which the runtime sends after the boot.
func cmdReboot(w *world, _ bool, _ []string) {
	w.agent.Kill()
	for name, p := range w.livePods() {
		_, err := testkit.NetnsOutput(p.NetNS, "ip", "link", "del", "eth0")
		w.check("remove pod "+name, err)
		w.lost(name)
		w.gone[name] = p
	}
	script := `set -e
ip rule flush
ip rule add priority 32766 lookup main
ip rule add priority 32767 lookup default
for device in $(ls /sys/class/net | grep '^eth[1-9]'); do
	ip address flush dev $device
	ip link set $device down
done
for table in $(seq 2 15); do ip route flush table $table 2>/dev/null || true; done
nft flush ruleset
echo 0 >/proc/sys/net/ipv4/ip_forward
`
	out, err := testkit.NetnsOutput(w.nodeSpace(), "sh", "-c", script)
	w.printf("%s", out)
	w.check("reboot", err)
}
