package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
)

func codeOf(err error) uint {
	if e, ok := errors.AsType[*types.Error](err); ok {
		return e.Code
	}
	return 0
}

func wantError(t *testing.T, err error, code agentapi.Code, texts ...string) {
	t.Helper()
	if codeOf(err) != uint(code) {
		t.Errorf("error %v (code %d), want code %d", err, codeOf(err), code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestEveryVerbInEveryVersion(t *testing.T) {
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			list, rt := w.list(version), w.runtimeConf("c1")
			result, err := w.cni.AddNetworkList(t.Context(), list, rt)
			if err != nil {
				t.Fatalf("ADD: %v", err)
			}
			if result.Version() != version {
				t.Errorf("result of version %s", result.Version())
			}
			current, err := types100.NewResultFromResult(result)
			if err != nil {
				t.Fatal(err)
			}
			if got := current.IPs[0].Address.String(); got != "10.0.0.4/32" {
				t.Errorf("address %s", got)
			}
			if w.agent.told().Pod != (agentapi.Pod{Namespace: "default", Name: "web-c1", UID: "uid"}) {
				t.Errorf("the agent was told of pod %+v", w.agent.told().Pod)
			}
			if version >= "0.4.0" {
				if err := w.cni.CheckNetworkList(t.Context(), list, rt); err != nil {
					t.Errorf("CHECK: %v", err)
				}
			}
			if version >= "1.1.0" {
				if err := w.cni.GetStatusNetworkList(t.Context(), list); err != nil {
					t.Errorf("STATUS: %v", err)
				}
			}
			if err := w.cni.DelNetworkList(t.Context(), list, rt); err != nil {
				t.Errorf("DEL: %v", err)
			}
			if len(w.agent.holds()) != 0 {
				t.Errorf("after DEL the agent holds %v", w.agent.holds())
			}
			// libcni keeps the result from 0.4.0 on, and hands it to DEL.
			if version >= "0.4.0" && (w.agent.told().Previous == nil || w.agent.told().Previous.Addrs[0] != netip.MustParseAddr("10.0.0.4") || w.agent.told().Previous.Table != 3) {
				t.Errorf("DEL came with %+v", w.agent.told().Previous)
			}
		})
	}
}

func TestResultShape(t *testing.T) {
	w := newWorld(t)
	w.start()
	result, err := w.cni.AddNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cniVersion": "1.0.0",
  "interfaces": [
    {
      "name": "eni0123456789a"
    },
    {
      "mac": "3",
      "mtu": 9001,
      "name": "eth0",
      "sandbox": "` + w.path("netns") + `"
    },
    {
      "mac": "0",
      "name": "dummy0123456789a",
      "sandbox": "2"
    }
  ],
  "ips": [
    {
      "address": "10.0.0.4/32",
      "interface": 1
    }
  ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestAgentDown(t *testing.T) {
	w := newWorld(t)
	list, rt := w.list("1.1.0"), w.runtimeConf("c1")
	stop := w.start()
	if _, err := w.cni.AddNetworkList(t.Context(), list, rt); err != nil {
		t.Fatal(err)
	}
	stop()

	_, err := w.cni.AddNetworkList(t.Context(), list, w.runtimeConf("c2"))
	wantError(t, err, agentapi.CodeTryAgainLater, "pod default/web-c2", "aws-node", "kubectl")
	wantError(t, w.cni.GetStatusNetworkList(t.Context(), list), agentapi.CodeNotAvailable, "aws-node")
	wantError(t, w.cni.CheckNetworkList(t.Context(), list, rt), agentapi.CodeTryAgainLater, "web-c1")
	if err := w.cni.DelNetworkList(t.Context(), list, rt); err != nil {
		t.Fatalf("DEL without agent: %v", err)
	}
	entries, err := queue.New(w.path("queue")).List()
	if err != nil || len(entries) != 1 {
		t.Fatalf("queue holds %d requests, %v", len(entries), err)
	}
	req := entries[0].Request
	if req.Attachment.ContainerID != "c1" || req.Previous == nil || req.Previous.HostVeth != "eni0123456789a" || req.Pod.Name != "web-c1" {
		t.Errorf("queued %+v", req)
	}
}

func TestDelThatCannotBeQueued(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.path("queue"), []byte("a file, no directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := w.cni.DelNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1"))
	wantError(t, err, agentapi.CodeIO, "web-c1", "cannot be left on disk")
}

// The agent's words reach the runtime unchanged.
func TestAgentRefuses(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.agent.with(func() {
		w.agent.refuse = &agentapi.Error{Code: agentapi.CodeTryAgainLater, Msg: "pod default/web-c1: no address within 10s: subnet-1 is full", Details: "tag a subnet"}
	})
	_, err := w.cni.AddNetworkList(t.Context(), w.list("1.1.0"), w.runtimeConf("c1"))
	wantError(t, err, agentapi.CodeTryAgainLater, "subnet-1 is full", "tag a subnet")
	w.agent.with(func() { w.agent.refuse = agentapi.Errorf(agentapi.CodeLimited, "no address is free") })
	wantError(t, w.cni.GetStatusNetworkList(t.Context(), w.list("1.1.0")), agentapi.CodeLimited, "no address is free")
	w.agent.with(func() { w.agent.refuse = agentapi.Errorf(agentapi.CodeUnwire, "rule busy") })
	wantError(t, w.cni.DelNetworkList(t.Context(), w.list("1.1.0"), w.runtimeConf("c1")), agentapi.CodeUnwire, "rule busy")
}

func TestCheckFindsDifferences(t *testing.T) {
	w := newWorld(t)
	w.start()
	list, rt := w.list("1.0.0"), w.runtimeConf("c1")
	if _, err := w.cni.AddNetworkList(t.Context(), list, rt); err != nil {
		t.Fatal(err)
	}
	key := agentapi.Attachment{Network: "aws-cni", ContainerID: "c1", IfName: "eth0"}
	good := w.agent.holds()[key]
	tests := []struct {
		name   string
		change func(*agentapi.Added)
		text   string
	}{
		{"address", func(a *agentapi.Added) { a.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.99")} }, "10.0.0.99"},
		{"veth", func(a *agentapi.Added) { a.HostVeth = "eniother" }, "eniother"},
		{"table", func(a *agentapi.Added) { a.Table = 5 }, "route table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := good
			tt.change(&changed)
			w.agent.with(func() { w.agent.held[key] = changed })
			wantError(t, w.cni.CheckNetworkList(t.Context(), list, rt), agentapi.CodeMismatch, "web-c1", tt.text)
		})
	}
	w.agent.with(func() { delete(w.agent.held, key) })
	wantError(t, w.cni.CheckNetworkList(t.Context(), list, rt), agentapi.CodeUnknownContainer)
}

func TestGC(t *testing.T) {
	w := newWorld(t)
	w.start()
	list := w.list("1.1.0")
	for _, c := range []string{"c1", "c2", "c3"} {
		if _, err := w.cni.AddNetworkList(t.Context(), list, w.runtimeConf(c)); err != nil {
			t.Fatal(err)
		}
	}
	conf := list.Plugins[0].Bytes
	var m map[string]any
	if err := json.Unmarshal(conf, &m); err != nil {
		t.Fatal(err)
	}
	m["cniVersion"], m["cni.dev/valid-attachments"] = "1.1.0", []types.GCAttachment{{ContainerID: "c2", IfName: "eth0"}}
	stdin, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if out, code := w.exec(stdin, "CNI_COMMAND=GC", "CNI_PATH=/opt/cni/bin"); code != 0 {
		t.Fatalf("GC: %s", out)
	}
	if len(w.agent.holds()) != 1 || w.agent.holds()[agentapi.Attachment{Network: "aws-cni", ContainerID: "c2", IfName: "eth0"}].HostVeth == "" {
		t.Errorf("after GC the agent holds %v", w.agent.holds())
	}
}

// A GC that does not say what is valid must not take everything for garbage.
func TestGCWithoutAListOfWhatIsValid(t *testing.T) {
	w := newWorld(t)
	w.start()
	if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.1.0"), w.runtimeConf("c1")); err != nil {
		t.Fatal(err)
	}
	stdin := append([]byte(`{"cniVersion":"1.1.0",`), w.list("1.1.0").Plugins[0].Bytes[1:]...)
	if out, code := w.exec(stdin, "CNI_COMMAND=GC", "CNI_PATH=/opt/cni/bin"); code == 0 || !strings.Contains(out, `"code": 7`) {
		t.Errorf("GC: exit %d, %s", code, out)
	}
	if len(w.agent.holds()) != 1 {
		t.Error("the pod's attachment was collected")
	}
}

// exec runs the plugin as a runtime with its own idea of the specification would.
func (w *world) exec(stdin []byte, env ...string) (string, int) {
	w.tb.Helper()
	bin, err := build()
	if err != nil {
		w.tb.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "aws-cni"))
	cmd.Env, cmd.Stdin = env, bytes.NewReader(stdin)
	out, err := cmd.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		w.tb.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	w.start()
	good := func(version string) string { return string(w.list(version).Plugins[0].Bytes) }
	with := func(version string) string {
		return `{"cniVersion":"` + version + `",` + good("1.0.0")[1:]
	}
	env := []string{"CNI_CONTAINERID=c1", "CNI_NETNS=" + w.netns(), "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", "CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"}
	tests := []struct {
		name  string
		env   []string
		stdin string
		code  uint
		text  string
	}{
		{"empty stdin", append(env, "CNI_COMMAND=ADD"), "", 6, "unmarshall"},
		{"stdin is no JSON", append(env, "CNI_COMMAND=ADD"), "cniVersion: 1.0.0", 6, "invalid character"},
		{"truncated stdin", append(env, "CNI_COMMAND=ADD"), `{"cniVersion":"1.0.0","name":"aws-c`, 6, "unexpected end"},
		{"a field of another type", append(env, "CNI_COMMAND=ADD"), `{"cniVersion":"1.0.0","name":"aws-cni","pluginLogFile":7}`, 6, "pluginLogFile"},
		{"no network name", append(env, "CNI_COMMAND=ADD"), `{"cniVersion":"1.0.0"}`, 7, "name"},
		{"unknown version", append(env, "CNI_COMMAND=ADD"), with("9.9.9"), 1, "9.9.9"},
		{"unknown command", append(env, "CNI_COMMAND=MOVE"), with("1.0.0"), 4, "MOVE"},
		{"nothing but a command", []string{"CNI_COMMAND=ADD"}, with("1.0.0"), 4, "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"},
		{"container id that is none", append(env, "CNI_COMMAND=ADD", "CNI_CONTAINERID=../x"), with("1.0.0"), 4, "../x"},
		{"args that are none", append(env, "CNI_COMMAND=ADD", "CNI_ARGS=K8S_POD_NAME"), with("1.0.0"), 4, "K8S_POD_NAME"},
		{"namespace is gone", append(env, "CNI_COMMAND=ADD", "CNI_NETNS=/no/such/netns"), with("1.0.0"), 4, "/no/such/netns"},
		{"check without prevResult", append(env, "CNI_COMMAND=CHECK"), with("1.0.0"), 7, "prevResult"},
		{"check with a broken prevResult", append(env, "CNI_COMMAND=CHECK"), `{"prevResult":{"cniVersion":"1.0.0","ips":7},` + with("1.0.0")[1:], 6, "prevResult"},
		{"check before 0.4.0", append(env, "CNI_COMMAND=CHECK"), with("0.3.1"), 1, "CHECK"},
		{"gc before 1.1.0", append(env, "CNI_COMMAND=GC"), with("1.0.0"), 1, "GC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, exit := w.exec([]byte(tt.stdin), tt.env...)
			var e types.Error
			if err := json.Unmarshal([]byte(out), &e); err != nil || exit == 0 {
				t.Fatalf("exit %d, output %q: %v", exit, out, err)
			}
			if e.Code != tt.code || !strings.Contains(e.Error(), tt.text) {
				t.Errorf("code %d, %q; want code %d and %q", e.Code, e.Error(), tt.code, tt.text)
			}
		})
	}
}

// A runtime that lost the pod's namespace and its cache still gets its DEL done.
func TestDelWithLittle(t *testing.T) {
	for name, extra := range map[string]string{
		"no prevResult": "", "null": `"prevResult":null,`, "garbage": `"prevResult":{"ips":[null],"interfaces":[null]},`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1")); err != nil {
				t.Fatal(err)
			}
			stdin := `{"cniVersion":"1.0.0",` + extra + string(w.list("1.0.0").Plugins[0].Bytes)[1:]
			out, exit := w.exec([]byte(stdin), "CNI_COMMAND=DEL", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_PATH=/x")
			if exit != 0 || len(w.agent.holds()) != 0 {
				t.Errorf("exit %d, %q, agent holds %v", exit, out, w.agent.holds())
			}
		})
	}
}

func TestLog(t *testing.T) {
	w := newWorld(t)
	w.start()
	if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.path("plugin.log"))
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Action, Pod, Namespace, Msg string }
	if err := json.Unmarshal(bytes.SplitN(data, []byte("\n"), 2)[0], &line); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if line.Action != "ADD" || line.Pod != "web-c1" || line.Namespace != "default" || line.Msg != "added" {
		t.Errorf("log line %+v", line)
	}
	if err := os.Truncate(w.path("plugin.log"), maxLogFile+1); err != nil {
		t.Fatal(err)
	}
	if err := w.cni.DelNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(w.path("plugin.log"))
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("the log was not set aside: %v, %v", info, err)
	}
}

// An unwritable log fails nothing.
func TestLogCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.start()
	if err := os.Mkdir(w.path("plugin.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.0.0"), w.runtimeConf("c1")); err != nil {
		t.Error(err)
	}
}

func FuzzConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"aws-cni","prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eni1"},{"name":"eth0","sandbox":"/x","mac":"2"}],"ips":[{"address":"10.0.0.1/32","interface":1}]}}`), "K8S_POD_NAME=a")
	f.Add([]byte(`{"cniVersion":"0.4.0","prevResult":{"ips":[{"version":"4","address":"10.0.0.1/32"}]}}`), ";;=")
	f.Add([]byte(`{"cniVersion":"0.2.0","prevResult":{"ip4":{"ip":"10.0.0.1/32"}},"cni.dev/valid-attachments":[{}]}`), "")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := parseConf(stdin)
		if err != nil {
			return
		}
		pod, err := parseArgs(args)
		if err != nil && codeOf(err) == 0 {
			t.Errorf("args %q: error without a code: %v", args, err)
		}
		req := agentapi.Request{Attachment: agentapi.Attachment{Network: c.Name, ContainerID: "c", IfName: "eth0"}, Pod: pod, Netns: "/x"}
		added, err := previousOf(c, req)
		if err != nil {
			if codeOf(err) == 0 {
				t.Errorf("%s: error without a code: %v", stdin, err)
			}
			return
		}
		if _, err := json.Marshal(added); err != nil {
			t.Errorf("%s: %+v: %v", stdin, added, err)
		}
	})
}

// BenchmarkAdd is a whole ADD as a runtime sees it, process start included, with an agent that answers at once.
func BenchmarkAdd(b *testing.B) {
	w := newWorld(b)
	w.start()
	stdin := w.list("1.0.0").Plugins[0].Bytes
	stdin = append([]byte(`{"cniVersion":"1.0.0",`), stdin[1:]...)
	env := []string{
		"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=" + w.netns(), "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
	}
	for b.Loop() {
		if out, code := w.exec(stdin, env...); code != 0 {
			b.Fatal(out)
		}
	}
}
