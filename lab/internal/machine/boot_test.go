package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

// childVariable makes the test a program with threads, as containerd is one.
const childVariable = "BERTH_TEST_BOOTED"

// On Linux 6.1, which Debian 12 has, containerd ended at once: "pthread_create failed: Invalid argument".
func TestAProgramWithThreadsSeesANodeThatHasJustBooted(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		threads(t)
		return
	}
	testkit.RequireRoot(t)
	argv, err := justBooted([]string{os.Args[0], "-test.run=^" + t.Name() + "$"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "uptime ")
	text, _, _ := strings.Cut(after, " ")
	up, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("no uptime in %s", out)
	}
	if up > 60 {
		t.Errorf("it sees a machine that has been up for %.0f s", up)
	}
}

// threads needs several at once.
func threads(t *testing.T) {
	var all, together sync.WaitGroup
	together.Add(8)
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread()
			together.Done()
			together.Wait()
		})
	}
	all.Wait()
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("uptime %s", up)
}
