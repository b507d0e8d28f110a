package imds_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/wire/imds"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// in runs f on a thread that is in a network namespace; sockets that f opens stay there.
func in(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// hopWorld is hypervisor -- node -- pod, the node forwarding, the service in the hypervisor.
func hopWorld(t *testing.T) (hypervisor, node, pod string) {
	t.Helper()
	id := fmt.Sprintf("bt-imds-%d-", os.Getpid())
	hypervisor, node, pod = id+"hv", id+"node", id+"pod"
	for _, ns := range []string{hypervisor, node, pod} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	ip(t, "-n", node, "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", hypervisor)
	ip(t, "-n", node, "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", pod)
	ip(t, "-n", hypervisor, "addr", "add", "169.254.169.254/32", "dev", "lo")
	ip(t, "-n", hypervisor, "addr", "add", "192.0.2.1/31", "dev", "down0")
	ip(t, "-n", node, "addr", "add", "192.0.2.0/31", "dev", "up0")
	ip(t, "-n", node, "addr", "add", "192.0.2.2/31", "dev", "pod0")
	ip(t, "-n", pod, "addr", "add", "192.0.2.3/31", "dev", "eth0")
	for _, l := range [][2]string{{hypervisor, "down0"}, {node, "up0"}, {node, "pod0"}, {pod, "eth0"}} {
		ip(t, "-n", l[0], "link", "set", l[1], "up")
	}
	ip(t, "-n", node, "route", "add", "169.254.169.254/32", "via", "192.0.2.1")
	ip(t, "-n", pod, "route", "add", "default", "via", "192.0.2.2")
	ip(t, "-n", hypervisor, "route", "add", "192.0.2.2/31", "via", "192.0.2.0")
	ip(t, "netns", "exec", node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return hypervisor, node, pod
}

// TestHopLimit: only the answer to the token request carries the limit, so a pod one forward away gets no token at 1.
func TestHopLimit(t *testing.T) {
	testkit.RequireRoot(t)
	hypervisor, node, pod := hopWorld(t)
	hops := 1
	meta := func() (vpcsim.Metadata, bool) {
		return vpcsim.Metadata{
			Options: ec2.InstanceMetadataOptions{HttpTokens: "optional", HttpPutResponseHopLimit: &hops},
			Values:  map[string]string{"mac": mac},
		}, true
	}
	var l net.Listener
	if err := in(hypervisor, func() (err error) {
		l, err = net.Listen("tcp", "169.254.169.254:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: imds.New(meta, sigv4.NewStore(time.Now), time.Now), ConnContext: imds.ConnContext}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })

	tests := []struct {
		name, from string
		hops       int
		want       string
	}{
		{"node at 1", node, 1, "200 OK"},
		{"pod at 1", pod, 1, "nothing"},
		{"node at 2", node, 2, "200 OK"},
		{"pod at 2", pod, 2, "200 OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hops = tt.hops
			if got := askFrom(t, tt.from, http.MethodPut, "/latest/api/token"); got != tt.want {
				t.Errorf("token: %s, want %s", got, tt.want)
			}
			if got := askFrom(t, tt.from, http.MethodGet, "/latest/meta-data/mac"); got != "200 OK" {
				t.Errorf("a read is not limited, got %s", got)
			}
		})
	}
}

// askFrom sends a request from a network namespace and returns the status of the answer.
func askFrom(t *testing.T, from, method, path string) string {
	t.Helper()
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = in(from, func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://169.254.169.254"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(ttl, "60")
	resp, err := c.Do(r)
	if err != nil {
		return "nothing"
	}
	resp.Body.Close()
	return resp.Status
}
