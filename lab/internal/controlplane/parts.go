package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-net/berth/lab/internal/proc"
)

// Ports inside the control plane's namespace. Only the API server's own is open to the VPC.
const (
	etcdPort       = 2379
	etcdHealthPort = 2381
	managerPort    = 10257
	schedulerPort  = 10259
)

// part is one process of the control plane.
type part struct {
	name   string
	args   []string
	env    []string
	health string // URL inside the namespace
}

// stages are the parts in the order of their start; those of one stage start together.
func (c *ControlPlane) stages() [][]part {
	local := func(scheme string, port int, path string) string {
		return fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, port, path)
	}
	kubeconfig := func(name string) string { return filepath.Join(c.config.Dir, name+".kubeconfig") }
	client := func(name string) []string {
		return []string{
			"--kubeconfig=" + kubeconfig(name), "--authentication-kubeconfig=" + kubeconfig(name),
			"--authorization-kubeconfig=" + kubeconfig(name), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--client-ca-file=" + c.key("ca.crt"), "--requestheader-client-ca-file=" + c.key("front-proxy-ca.crt"),
			"--tls-cert-file=" + c.key(name+".crt"), "--tls-private-key-file=" + c.key(name+".key"),
		}
	}
	etcd := part{name: "etcd", health: local("http", etcdHealthPort, "/readyz"), env: []string{"GOGC=50"}, args: []string{
		"--name=lab", "--data-dir=" + filepath.Join(c.config.Dir, "etcd"),
		"--listen-client-urls=" + local("http", etcdPort, ""), "--advertise-client-urls=" + local("http", etcdPort, ""),
		"--listen-metrics-urls=" + local("http", etcdHealthPort, ""), "--listen-peer-urls=" + local("http", etcdPort+1, ""),
		"--initial-advertise-peer-urls=" + local("http", etcdPort+1, ""), "--initial-cluster=lab=" + local("http", etcdPort+1, ""),
		"--snapshot-count=5000", "--logger=zap", "--log-level=warn",
		// A lab outlives crashes of its processes, which lose nothing; a power cut may cost it the cluster.
		"--unsafe-no-fsync",
	}}
	manager := part{name: "kube-controller-manager", health: local("https", managerPort, "/healthz"), env: []string{"GOGC=50"}, args: append(
		client("kube-controller-manager"),
		"--allocate-node-cidrs=false", "--cluster-name="+c.config.Cluster, "--use-service-account-credentials=true",
		"--cluster-signing-cert-file="+c.key("ca.crt"), "--cluster-signing-key-file="+c.key("ca.key"),
		"--root-ca-file="+c.key("ca.crt"), "--service-account-private-key-file="+c.key("sa.key"),
		"--service-cluster-ip-range="+c.config.ServiceRange.String(),
	)}
	scheduler := part{
		name: "kube-scheduler", health: local("https", schedulerPort, "/healthz"), env: []string{"GOGC=50"},
		args: client("kube-scheduler"),
	}
	return [][]part{{etcd}, {c.apiserver()}, {manager, scheduler}}
}

func (c *ControlPlane) apiserver() part {
	return part{
		name: "kube-apiserver", health: c.Endpoint() + "/readyz",
		env: []string{"GOGC=50", "GOMEMLIMIT=600MiB"}, // half the memory for a tenth more processor time
		args: append([]string{
			"--advertise-address=" + c.config.Advertise.String(), fmt.Sprintf("--secure-port=%d", c.config.Port), "--bind-address=0.0.0.0",
			fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcdPort),
			"--service-cluster-ip-range=" + c.config.ServiceRange.String(),
			"--client-ca-file=" + c.key("ca.crt"),
			"--tls-cert-file=" + c.key("kube-apiserver.crt"), "--tls-private-key-file=" + c.key("kube-apiserver.key"),
			"--kubelet-certificate-authority=" + c.key("ca.crt"),
			"--kubelet-client-certificate=" + c.key("kube-apiserver-kubelet.crt"),
			"--kubelet-client-key=" + c.key("kube-apiserver-kubelet.key"),
			"--kubelet-preferred-address-types=InternalIP,Hostname",
			"--proxy-client-cert-file=" + c.key("front-proxy-client.crt"), "--proxy-client-key-file=" + c.key("front-proxy-client.key"),
			"--requestheader-client-ca-file=" + c.key("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User",
			"--service-account-issuer=" + c.config.Issuer, "--service-account-key-file=" + c.key("sa.pub"),
			"--service-account-signing-key-file=" + c.key("sa.key"),
			"--api-audiences=" + strings.Join([]string{c.config.Issuer, "https://kubernetes.default.svc"}, ","),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--enable-aggregator-routing=true", "--profiling=false",
			"--delete-collection-workers=4",
		}, c.config.Flags...),
	}
}

// healthy waits until a part says that it is well.
func (c *ControlPlane) healthy(ctx context.Context, p part, service *proc.Service) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authority.PEM())
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, fmt.Errorf("parse address of %s: %w", p.name, err)
			}
			return proc.Dial(ctx, c.config.NetNS, to)
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := await(ctx, func() error { return ask(ctx, client, p.health) }, service.Restarts); err != nil {
		return fmt.Errorf("wait for %s: %w; its log ends: %s", p.name, err, logTail(c.LogFile(p.name)))
	}
	return nil
}

// await asks until there is no error. It asks at longer and longer intervals: where a part starts slowly, the handshakes
// of questions that come too soon would slow it further.
func await(ctx context.Context, ask func() error, restarts func() int) error {
	began := time.Now()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if n := restarts(); n >= mostRestarts {
			return fmt.Errorf("it ended by itself %d times: %w", n, err)
		}
		timer := time.NewTimer(min(max(time.Since(began)/20, 50*time.Millisecond), 2*time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("not within %s: %w", time.Since(began).Round(time.Second), err)
		case <-timer.C:
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("ask %s: %s: %s", url, resp.Status, body)
	}
	return nil
}

// logTail is the end of a log, for an error.
func logTail(path string) string {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "(empty)"
	}
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1200):]))
}
