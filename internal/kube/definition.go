package kube

import (
	"context"
	"time"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// definitionsPath has the definitions of kinds that somebody installed.
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// definitionFeed follows the definition of a kind, such as clusternetworkpolicies.policy.networking.k8s.io, and tells when it appears or
// changes: the first policies of a kind are applied seconds after it, and must not wait until the kind is asked for again.
func definitionFeed(name string, appeared chan<- struct{}) func(context.Context, *apiserver.API) error {
	tell := func() {
		select {
		case appeared <- struct{}{}:
		default: // it is told already
		}
	}
	later := func() {
		tell()
		for _, d := range []time.Duration{time.Second, 6 * time.Second} { // until the server serves what it has accepted
			time.AfterFunc(d, tell)
		}
	}
	seen := new(string)
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[apiserver.Head]{
			Path: definitionsPath, Selector: "metadata.name=" + name, Metadata: true, Seen: seen,
			List: func(all []apiserver.Head) {
				if len(all) > 0 {
					later()
				}
			},
			Change: func(_ apiserver.Head, gone bool) {
				if !gone {
					later()
				}
			},
		}.Follow(ctx, a)
	}
}
