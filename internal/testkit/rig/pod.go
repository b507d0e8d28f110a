package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/berth-net/berth/internal/testkit"
)

// Pod is a bare network namespace that the plugin is called for.
type Pod struct {
	Name      string
	Container string
	NetNS     string
	Addr      netip.Addr
	Result    json.RawMessage
}

// NewPod makes a pod without a network.
func (r *Rig) NewPod() Pod {
	r.TB.Helper()
	r.pods++
	return Pod{Name: fmt.Sprintf("pod-%d", r.pods), Container: fmt.Sprintf("%s-%d", filepath.Base(r.Dir), r.pods), NetNS: testkit.Netns(r.TB)}
}

// Call is the outcome of one run of the plugin.
type Call struct {
	Elapsed time.Duration // from before the process starts until it has ended
	Out     []byte
	Err     error // *PluginError when the plugin answered with one
}

// PluginError is the CNI error that the plugin printed.
type PluginError struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
}

// Error implements error.
func (e *PluginError) Error() string {
	return fmt.Sprintf("cni error %d: %s; %s", e.Code, e.Msg, e.Details)
}

// Conf is the plugin's configuration for this rig.
func (r *Rig) Conf(prev json.RawMessage) []byte {
	c := map[string]any{
		"cniVersion": "1.1.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001",
		"pluginLogFile": filepath.Join(r.Dir, "plugin.log"), "pluginLogLevel": "DEBUG",
		"berth.socket": r.socket(), "berth.queue": r.queue(),
	}
	if prev != nil {
		c["prevResult"] = prev
	}
	data, _ := json.Marshal(c)
	return data
}

// Plugin runs the plugin process for a verb.
func (r *Rig) Plugin(verb string, p Pod) Call {
	if (verb == "ADD" || verb == "DEL") && r.OldPlugins.Load() && r.calls.Add(1)%2 == 0 {
		return r.pluginV1(verb, p)
	}
	var prev json.RawMessage
	if verb == "CHECK" || verb == "DEL" {
		prev = p.Result
	}
	return r.PluginWith(verb, p, r.Conf(prev))
}

// PluginWith runs the plugin with a configuration of the caller's.
func (r *Rig) PluginWith(verb string, p Pod, conf []byte) Call {
	cmd := exec.Command(filepath.Join(r.Bin, "berth-cni"))
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + p.Container, "CNI_NETNS=" + p.NetNS, "CNI_IFNAME=eth0", "CNI_PATH=" + r.Bin,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.Name + ";K8S_POD_UID=uid-" + p.Name,
	}
	cmd.Stdin = bytes.NewReader(conf)
	var out bytes.Buffer
	cmd.Stdout = &out
	began := time.Now()
	err := cmd.Run()
	c := Call{Elapsed: time.Since(began), Out: out.Bytes()}
	if err != nil {
		var e PluginError
		c.Err = err
		if json.Unmarshal(out.Bytes(), &e) == nil && e.Code != 0 {
			c.Err = &e
		}
	}
	return c
}

var errNoAddress = errors.New("the result has no address")

// Add runs ADD once and takes over the result.
func (r *Rig) Add(p *Pod) Call {
	c := r.Plugin("ADD", *p)
	if c.Err != nil {
		return c
	}
	c.Err = p.Take(c.Out)
	return c
}

// Take takes over the result of an ADD.
func (p *Pod) Take(data []byte) error {
	var result struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(data, &result); err != nil || len(result.IPs) == 0 {
		return errors.Join(err, errNoAddress)
	}
	p.Addr, p.Result = result.IPs[0].Address.Addr(), data
	return nil
}

// AddUntil repeats ADD as a kubelet would, each interval, until it works or limit is over. It returns the time from the
// first try to the success.
func (r *Rig) AddUntil(p *Pod, interval, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		c := r.Add(p)
		if c.Err == nil {
			return time.Since(began), nil
		}
		if time.Since(began) > limit {
			return time.Since(began), c.Err
		}
		<-time.After(interval)
	}
}
