package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/reach"
)

// mapsPath is where an agent's introspection says what the maps of its node say.
const mapsPath = "/v1/policy"

// mapsAnswer is what the maps of a pod's node say of one side of a path.
type mapsAnswer struct {
	Pod       string `json:"pod"`
	Direction string `json:"direction"`
	Remote    string `json:"remote"`
	Interface string `json:"interface"`
	Allowed   bool   `json:"allowed"`
	By        string `json:"by"`
	// Differs tells that the policies in the API say otherwise.
	Differs bool `json:"differs"`
}

// askMaps asks the agents at some addresses about every side on which policies are asked. Only the agent of a pod's node knows it.
func (a *traceAnswer) askMaps(ctx context.Context, agents []string) error {
	if len(agents) == 0 {
		return nil
	}
	for _, p := range a.Paths {
		if reach.IsPlaceholder(p.From) || reach.IsPlaceholder(p.To) {
			a.Notes = append(a.Notes, fmt.Sprintf("%s or %s has no address yet: the maps were not asked", a.From, a.To))
			continue
		}
		for _, s := range []struct {
			of     reach.Side
			d      policy.Direction
			pod    string
			remote netip.Addr
		}{{p.Egress, policy.Egress, a.From, p.To}, {p.Ingress, policy.Ingress, a.To, p.From}} {
			if !s.of.Asked {
				continue
			}
			m := mapsAnswer{Pod: s.pod, Direction: s.d.String(), Remote: s.remote.String()}
			known := false
			for _, at := range agents {
				found, err := m.ask(ctx, at, a.Protocol, a.Port)
				if err != nil {
					return err
				}
				known = known || found
			}
			if !known {
				a.Notes = append(a.Notes, fmt.Sprintf("no agent given by --maps has %s on its node: its %s was not compared", s.pod, s.d))
				continue
			}
			m.Differs = m.Allowed != s.of.Allowed
			a.Differs = a.Differs || m.Differs
			a.Maps = append(a.Maps, m)
		}
	}
	return nil
}

func (m *mapsAnswer) ask(ctx context.Context, agent, protocol string, port uint16) (found bool, err error) {
	namespace, name, _ := strings.Cut(m.Pod, "/")
	q := url.Values{
		"namespace": {namespace}, "pod": {name}, "direction": {m.Direction}, "address": {m.Remote}, "protocol": {protocol}, "port": {strconv.Itoa(int(port))},
	}
	const limit = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, base := clientOf(agent)
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+mapsPath+"?"+q.Encode(), nil)
	if err != nil {
		return false, fmt.Errorf("--maps: %w", err)
	}
	reply, err := client.Do(request)
	if err != nil {
		return false, fmt.Errorf("ask the agent for the maps of its node: %w: does `kubectl -n %s port-forward POD 61679` run?", err, agentNamespace)
	}
	defer func() { _ = reply.Body.Close() }()
	const most = 1 << 16
	data, err := io.ReadAll(io.LimitReader(reply.Body, most))
	if err != nil {
		return false, fmt.Errorf("ask the agent for the maps of its node: %w", err)
	}
	switch reply.StatusCode {
	case http.StatusNotFound:
		return false, nil
	case http.StatusOK:
	default:
		return false, fmt.Errorf("ask the agent at %s for the maps of its node: %s: %s", agent, reply.Status, strings.TrimSpace(string(data)))
	}
	if err := json.Unmarshal(data, m); err != nil || m.Interface == "" {
		return false, fmt.Errorf("the agent at %s has no page %s: it is older than this program, or this is not an agent's introspection", agent, mapsPath)
	}
	return true, nil
}

// clientOf speaks to an agent by its URL, or by unix:PATH, as INTROSPECTION_BIND_ADDRESS has it.
func clientOf(agent string) (client *http.Client, base string) {
	path, ok := strings.CutPrefix(agent, "unix:")
	if !ok {
		return &http.Client{}, strings.TrimSuffix(agent, "/")
	}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}, "http://agent"
}

// String is the line for people.
func (m mapsAnswer) String() string {
	relation := "as the policies do"
	if m.Differs {
		relation = "NOT as the policies do: see `degraded` in /v1/berth of that agent and its log"
	}
	return fmt.Sprintf("the node's maps say %s by %s for %s of %s (%s), %s\n", word(m.Allowed), m.By, m.Direction, m.Pod, m.Remote, relation)
}
