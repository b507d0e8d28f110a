package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/berth-net/berth/api/v1alpha1"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/kube/apiserver"
)

// nodeSettings is a NodeSettings object whose spec may be anything.
type nodeSettings struct {
	apiserver.Head
	Spec json.RawMessage `json:"spec"`
}

// settings is what is kept of one.
type settings struct {
	selector  labels.Selector // nil: which nodes it means cannot be told
	usable    bool
	overrides pool.Overrides
	refused   []string
}

// watchSettings follows all NodeSettings: they are few.
func (c *Client) watchSettings(ctx context.Context, a *apiserver.API) error {
	f := apiserver.Feed[nodeSettings]{
		Path: "/apis/" + v1alpha1.GroupVersion.Group + "/" + v1alpha1.GroupVersion.Version + "/nodesettings",
		List: c.setSettings, Seen: &c.seen.settings,
		Change: func(s nodeSettings, gone bool) {
			c.learn(func(k *known) {
				if gone {
					delete(k.settings, s.Metadata.Name)
				} else {
					k.settings[s.Metadata.Name] = readSettings(s)
				}
			})
		},
	}
	return f.Follow(ctx, a)
}

// setSettings takes all settings that there are.
func (c *Client) setSettings(all []nodeSettings) {
	c.learn(func(k *known) {
		clear(k.settings)
		for _, s := range all {
			k.settings[s.Metadata.Name] = readSettings(s)
		}
		c.trouble[whatSettings] = ""
	})
}

// readSettings reads a spec that the API server has validated, or not: when the definition is older or was changed.
func readSettings(o nodeSettings) settings {
	s := settings{overrides: pool.Overrides{Name: o.Metadata.Name}}
	var spec v1alpha1.NodeSettingsSpec
	err := json.Unmarshal(o.Spec, &spec)
	if err != nil { // whom it means may be legible all the same
		var who struct {
			NodeSelector *metav1.LabelSelector `json:"nodeSelector"`
		}
		if json.Unmarshal(o.Spec, &who) == nil {
			spec.NodeSelector = who.NodeSelector
		}
		s.refused = append(s.refused, fmt.Sprintf("spec cannot be read (%v)", err))
	}
	selector, selectorErr := readSelector(spec.NodeSelector)
	switch {
	case selectorErr == nil:
		s.selector = selector
	case err == nil:
		s.refused = append(s.refused, fmt.Sprintf("spec.nodeSelector: %v", selectorErr))
	}
	if err != nil || selectorErr != nil {
		return s
	}
	s.usable, s.refused = true, spec.Clean()
	s.overrides = overrides(o.Metadata.Name, spec)
	return s
}

func readSelector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return nil, errors.New("it is missing; {} selects all nodes")
	}
	return metav1.LabelSelectorAsSelector(s)
}

func overrides(name string, s v1alpha1.NodeSettingsSpec) pool.Overrides {
	number := func(n *int32) *int {
		if n == nil {
			return nil
		}
		return new(int(*n))
	}
	o := pool.Overrides{
		Name: name, Priority: int(s.Priority),
		WarmENI: number(s.Pool.WarmENITarget), WarmIP: number(s.Pool.WarmIPTarget), MinimumIP: number(s.Pool.MinimumIPTarget),
		WarmPrefix: number(s.Pool.WarmPrefixTarget), MaxENI: number(s.Pool.MaxENI),
		PrefixDelegation: s.PrefixDelegation, Discovery: s.SubnetDiscovery, ReservePrefixes: s.ReservePrefixes,
	}
	if d := s.Pool.IPCooldownPeriod; d != nil {
		o.Cooldown = new(d.Duration)
	}
	return o
}
