package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node"
)

// introspection serves the node's state as JSON. The first four pages are those of the existing CNI, in its shape;
// /v1/berth and /v1/settings are ours.
func introspection(report func(context.Context) (agentReport, error), settings []setting) http.Handler {
	pages := map[string]func(context.Context) (any, error){
		"/v1/enis": func(ctx context.Context) (any, error) {
			r, err := report(ctx)
			return enisPage(r.Node), err
		},
		"/v1/eni-configs": func(ctx context.Context) (any, error) {
			r, err := report(ctx)
			return r.ENIConfig.Name, err
		},
		"/v1/networkutils-env-settings": func(context.Context) (any, error) {
			return settingsPage(settings, groupPath, groupChained, groupPolicy), nil
		},
		"/v1/ipamd-env-settings": func(context.Context) (any, error) {
			return settingsPage(settings, groupFamily, groupPool, groupEC2, groupCustom, groupLater), nil
		},
		"/v1/berth":    func(ctx context.Context) (any, error) { return report(ctx) },
		"/v1/settings": func(context.Context) (any, error) { return settings, nil },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		page, ok := pages[strings.TrimSuffix(r.URL.Path, "/")]
		if !ok {
			writeJSON(w, map[string][]string{"AvailableCommands": {
				"/v1/enis", "/v1/eni-configs", "/v1/networkutils-env-settings", "/v1/ipamd-env-settings", "/v1/berth", "/v1/settings",
			}})
			return
		}
		v, err := page(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, v)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// setting is a variable with the value that counts.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Set   bool   `json:"set"` // in the environment
	group string
}

// settings lists every variable with the value that counts. warned are those whose value was not taken.
func settings(env lookup) []setting {
	var out []setting
	for _, v := range variables() {
		s := setting{Name: v.name, Value: v.def, group: v.group}
		if value := env(v.name); value != "" {
			var c config
			s.Set = true
			if v.set(&c, value) == nil {
				s.Value = value
			}
		}
		out = append(out, s)
	}
	return out
}

func settingsPage(all []setting, groups ...string) map[string]string {
	page := map[string]string{}
	for _, s := range all {
		for _, g := range groups {
			if s.group == g {
				page[s.Name] = s.Value
			}
		}
	}
	return page
}

// The shape of /v1/enis. Names of fields are those of the existing CNI.
type (
	cardPage struct {
		TotalIPs    int
		AssignedIPs int
		ENIs        map[string]eniPage
	}
	eniPage struct {
		ID                  string
		IsPrimary           bool
		IsTrunk             bool
		IsEFA               bool
		DeviceNumber        int
		AvailableIPv4Cidrs  map[string]cidrPage
		IPv6Cidrs           map[string]cidrPage
		IsExcludedForPodIPs bool
		RouteTableID        int
		SubnetID            string
	}
	cidrPage struct {
		Cidr          net.IPNet
		IPAddresses   map[string]addressPage
		IsPrefix      bool
		AddressFamily string
	}
	addressPage struct {
		Address        string
		IPAMKey        keyPage
		IPAMMetadata   podPage
		AssignedTime   time.Time
		UnassignedTime time.Time
	}
	// keyPage names the network only: since 1.23.0 the existing CNI blanks the rest.
	keyPage struct {
		NetworkName string `json:"networkName"`
		ContainerID string `json:"containerID"`
		IfName      string `json:"ifName"`
	}
	podPage struct {
		Namespace  string `json:"k8sPodNamespace,omitempty"`
		Name       string `json:"k8sPodName,omitempty"`
		Interfaces int    `json:"interfacesCount,omitempty"`
	}
)

func enisPage(r node.Report) map[string]cardPage {
	page := map[string]cardPage{}
	for _, e := range r.ENIs {
		if !e.Managed {
			continue
		}
		key := strconv.Itoa(e.Card)
		card, ok := page[key]
		if !ok {
			card.ENIs = map[string]eniPage{}
		}
		eni := eniPage{
			ID: string(e.ID), IsPrimary: e.Primary, IsTrunk: e.Type == "trunk", IsEFA: strings.HasPrefix(e.Type, "efa"), DeviceNumber: e.DeviceIndex,
			AvailableIPv4Cidrs: map[string]cidrPage{}, IPv6Cidrs: map[string]cidrPage{}, IsExcludedForPodIPs: e.Barred,
			RouteTableID: hostnet.TableNumber(e.DeviceIndex, e.Card), SubnetID: string(e.Subnet),
		}
		for _, a := range e.Addresses {
			card.TotalIPs++
			if a.Phase == pool.InUse || a.Phase == pool.Held {
				card.AssignedIPs++
			}
			bits := a.IP.BitLen()
			block := net.IPNet{IP: a.IP.AsSlice(), Mask: net.CIDRMask(bits, bits)}
			eni.AvailableIPv4Cidrs[block.String()] = cidrPage{
				Cidr: block, AddressFamily: "4", IPAddresses: map[string]addressPage{a.IP.String(): addressOf(a)},
			}
		}
		card.ENIs[eni.ID] = eni
		page[key] = card
	}
	return page
}

func addressOf(a node.ReportAddress) addressPage {
	p := addressPage{Address: a.IP.String(), AssignedTime: a.AssignedAt, UnassignedTime: a.FreedAt}
	if a.Pod != nil {
		p.IPAMKey = keyPage{NetworkName: a.Pod.Key.Network}
		p.IPAMMetadata = podPage{Namespace: a.Pod.Namespace, Name: a.Pod.Name, Interfaces: 1}
	}
	return p
}
