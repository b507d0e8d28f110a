package kube

import (
	"context"
	"net/netip"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// PolicyService is a Service with the addresses that nodes translate.
type PolicyService struct {
	Namespace, Name string
	Addrs           []netip.Addr // cluster's, external and of load balancers
}

// peerService is the part of a Service that says its addresses.
type peerService struct {
	Metadata struct {
		Namespace       string `json:"namespace"`
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Message string `json:"message"`
	Spec    struct {
		ClusterIP   string   `json:"clusterIP"`
		ClusterIPs  []string `json:"clusterIPs"`
		ExternalIPs []string `json:"externalIPs"`
	} `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []struct {
				IP string `json:"ip"`
			} `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

func (s peerService) Version() string { return s.Metadata.ResourceVersion }
func (s peerService) Failure() string { return s.Message }

func (s peerService) service() PolicyService {
	out := PolicyService{Namespace: s.Metadata.Namespace, Name: s.Metadata.Name}
	texts := append(append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...), s.Spec.ExternalIPs...)
	for _, i := range s.Status.LoadBalancer.Ingress {
		texts = append(texts, i.IP)
	}
	for _, text := range texts {
		out.Addrs = appendAddr(out.Addrs, text) // "None" of a headless one is no address
	}
	return out
}

func serviceFeed(view PolicyView) func(context.Context, *apiserver.API) error {
	seen := new(string)
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[peerService]{
			Path: "/api/v1/services", Seen: seen,
			List: func(all []peerService) {
				out := make([]PolicyService, 0, len(all))
				for _, s := range all {
					out = append(out, s.service())
				}
				view.Services(out)
			},
			Change: func(s peerService, gone bool) { view.Service(s.service(), gone) },
		}.Follow(ctx, a)
	}
}
