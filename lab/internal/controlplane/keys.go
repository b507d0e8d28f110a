package controlplane

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/berth-net/berth/lab/internal/pki"
)

// key is a file of the keys' folder.
func (c *ControlPlane) key(name string) string { return filepath.Join(c.config.Dir, "pki", name) }

// certificates makes every key of the control plane. Authorities and the token key are kept, the rest is made anew at
// each start, since addresses may have changed.
func (c *ControlPlane) certificates() error {
	folder := filepath.Join(c.config.Dir, "pki")
	authority, err := pki.Open(folder, "ca")
	if err != nil {
		return err
	}
	c.authority = authority
	front, err := pki.Open(folder, "front-proxy-ca")
	if err != nil {
		return err
	}
	if err := pki.ServiceAccountKey(folder); err != nil {
		return err
	}
	local := netip.MustParseAddr("127.0.0.1")
	names := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
	}, c.config.Names...)
	for _, w := range []struct {
		file    string
		by      *pki.Authority
		request pki.Request
	}{
		{"kube-apiserver", authority, pki.Request{
			Name: "kube-apiserver", Names: names,
			Addresses: []netip.Addr{nth(c.config.ServiceRange, 1), c.config.Advertise, local},
		}},
		{"kube-apiserver-kubelet", authority, pki.Request{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}},
		{"front-proxy-client", front, pki.Request{Name: "front-proxy-client"}},
		{"kube-controller-manager", authority, pki.Request{
			Name: "system:kube-controller-manager", Names: []string{"localhost"}, Addresses: []netip.Addr{local},
		}},
		{"kube-scheduler", authority, pki.Request{Name: "system:kube-scheduler", Names: []string{"localhost"}, Addresses: []netip.Addr{local}}},
	} {
		pair, err := w.by.Issue(w.request)
		if err != nil {
			return err
		}
		if err := pair.Write(folder, w.file); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfigs writes those of the parts and the operator's.
func (c *ControlPlane) kubeconfigs() error {
	for _, user := range []string{"kube-controller-manager", "kube-scheduler"} {
		text, err := c.ClientConfig(c.Endpoint(), "system:"+user)
		if err != nil {
			return err
		}
		if err := text.Write(filepath.Join(c.config.Dir, user+".kubeconfig")); err != nil {
			return err
		}
	}
	operator, err := c.ClientConfig(c.OperatorEndpoint(), "kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	return operator.Write(c.Kubeconfig())
}

// ClientConfig issues a client certificate and returns the kubeconfig that uses it, at one of the endpoints.
func (c *ControlPlane) ClientConfig(server, user string, groups ...string) (pki.Kubeconfig, error) {
	pair, err := c.authority.Issue(pki.Request{Name: user, Groups: groups})
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	return pki.Kubeconfig{Cluster: c.config.Cluster, Server: server, Authority: c.authority.PEM(), User: user, Pair: pair}, nil
}

// NodeCredentials is what a node brings to join: who its kubelet and its kube-proxy are, and its serving certificate.
type NodeCredentials struct {
	Authority []byte
	Kubelet   pki.Kubeconfig
	Proxy     pki.Kubeconfig
	Serving   pki.Pair
}

// Node issues the credentials of a node.
func (c *ControlPlane) Node(name string, addr netip.Addr) (NodeCredentials, error) {
	kubelet, err := c.ClientConfig(c.Endpoint(), "system:node:"+name, "system:nodes")
	if err != nil {
		return NodeCredentials{}, fmt.Errorf("admit node %s: %w", name, err)
	}
	proxy, err := c.ClientConfig(c.Endpoint(), "system:kube-proxy")
	if err != nil {
		return NodeCredentials{}, fmt.Errorf("admit node %s: %w", name, err)
	}
	serving, err := c.authority.Issue(pki.Request{
		Name: "system:node:" + name, Groups: []string{"system:nodes"}, Names: []string{name}, Addresses: []netip.Addr{addr},
	})
	if err != nil {
		return NodeCredentials{}, fmt.Errorf("admit node %s: %w", name, err)
	}
	return NodeCredentials{Authority: c.authority.PEM(), Kubelet: kubelet, Proxy: proxy, Serving: serving}, nil
}
