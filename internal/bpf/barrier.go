package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// barrier waits until programs have ended that began before. Userspace has no call of that name; there are two ways.
//
// The quick one runs a thread on each CPU in turn, which takes microseconds each. The programs of tc run with softirqs off, and so without
// being preempted, unless the kernel is built for real time: where a thread comes to run, none is under way that began before.
//
// The slow one is for kernels of real time and for processes that may not run everywhere: the kernel lets an update of a map of
// maps return only after a grace period of RCU, so that no program uses the map that was replaced (since 4.20, commit 1ae80cf31938).
// It takes some ten milliseconds.
type barrier struct {
	outer, inner *ebpf.Map
	realtime     bool
}

func newBarrier() (*barrier, error) {
	spec := ebpf.MapSpec{Name: "berth_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	inner, err := ebpf.NewMap(&spec)
	if err != nil {
		return nil, fmt.Errorf("make inner eBPF map of the barrier: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "berth_barrier", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: &spec,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make eBPF map of the barrier: %w", err), inner.Close())
	}
	flag, err := os.ReadFile("/sys/kernel/realtime") // there in kernels of real time alone
	return &barrier{outer: outer, inner: inner, realtime: err == nil && strings.TrimSpace(string(flag)) == "1"}, nil
}

func (b *barrier) wait() error {
	if !b.realtime && visitCPUs() == nil {
		return nil
	}
	return b.grace()
}

// grace waits for a grace period of RCU.
func (b *barrier) grace() error {
	if err := b.outer.Put(uint32(0), b.inner); err != nil {
		return fmt.Errorf("wait for programs that run: %w", err)
	}
	return nil
}

func (b *barrier) close() error { return errors.Join(b.outer.Close(), b.inner.Close()) }

// visitCPUs runs a thread on every CPU that is online. It fails where the process may not run on one: its cpuset leaves it out.
func visitCPUs() error {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return fmt.Errorf("list the CPUs: %w", err)
	}
	cpus, err := cpuList(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { // the thread ends with the goroutine, and its affinity with it
		runtime.LockOSThread()
		for _, cpu := range cpus {
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil { // returns once the thread runs there
				done <- fmt.Errorf("run on CPU %d: %w", cpu, err)
				return
			}
		}
		done <- nil
	}()
	return <-done
}

// cpuList reads the kernel's form of a list: 0-3,5.
func cpuList(text string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err := errors.Join(err1, err2); err != nil || to < from || to >= 1<<16 {
			return nil, fmt.Errorf("list of CPUs %q cannot be read", text)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
