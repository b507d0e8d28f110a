package agentapi_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/agentapi"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

// pair returns two connected unix sockets.
func pair(tb testing.TB) (client, server *net.UnixConn) {
	tb.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(tb.TempDir(), "s"), Net: "unix"})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	client, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		tb.Fatal(err)
	}
	server, err = l.AcceptUnix()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func request() agentapi.Request {
	return agentapi.Request{
		Version: agentapi.Version, Verb: agentapi.Add, Plugin: "v1", TimeoutMillis: 12000,
		Attachment: agentapi.Attachment{Network: "aws-cni", ContainerID: "abc", IfName: "eth0"},
		Pod:        agentapi.Pod{Namespace: "default", Name: "web-1", UID: "u"},
		Netns:      "/var/run/netns/x",
		Previous:   &agentapi.Added{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}, HostVeth: "eni1", Table: 254},
		Valid:      []agentapi.Attachment{{Network: "aws-cni", ContainerID: "def", IfName: "eth0"}},
	}
}

func TestRequestCarriesDescriptor(t *testing.T) {
	client, server := pair(t)
	sent, err := os.Create(filepath.Join(t.TempDir(), "netns"))
	if err != nil {
		t.Fatal(err)
	}
	defer sent.Close()
	if err := agentapi.WriteRequest(client, request(), sent); err != nil {
		t.Fatal(err)
	}
	got, received, err := agentapi.ReadRequest(server)
	if err != nil {
		t.Fatal(err)
	}
	defer received.Close()
	if diff := cmp.Diff(request(), got, compareAddrs); diff != "" {
		t.Errorf("request changed under way (-sent +received):\n%s", diff)
	}
	a, errA := sent.Stat()
	b, errB := received.Stat()
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("the descriptor is another file: %v %v %v %v", a, errA, b, errB)
	}
}

// A request is encoded by hand: no field may be forgotten.
func TestRequestArrivesWhole(t *testing.T) {
	full := request()
	full.CNIVersion = "1.0.0"
	value := reflect.ValueOf(full)
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			t.Errorf("the test leaves %s empty", value.Type().Field(i).Name)
		}
	}
	for name, req := range map[string]agentapi.Request{"all fields": full, "none": {}, "no pod": {Version: 1, Verb: agentapi.Status}} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			if err := agentapi.WriteRequest(client, req, nil); err != nil {
				t.Fatal(err)
			}
			got, _, err := agentapi.ReadRequest(server)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(req, got, compareAddrs); diff != "" {
				t.Errorf("request changed under way (-sent +received):\n%s", diff)
			}
		})
	}
}

func TestRequestOfMaximumSize(t *testing.T) {
	client, server := pair(t)
	req := request()
	req.Valid = nil
	for range 8000 {
		req.Valid = append(req.Valid, agentapi.Attachment{Network: "aws-cni", ContainerID: strings.Repeat("c", 64), IfName: "eth0"})
	}
	sent := make(chan error, 1)
	go func() { sent <- agentapi.WriteRequest(client, req, nil) }()
	got, f, err := agentapi.ReadRequest(server)
	if err != nil || f != nil {
		t.Fatalf("ReadRequest: %v, descriptor %v", err, f)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if len(got.Valid) != len(req.Valid) {
		t.Errorf("%d attachments arrived of %d", len(got.Valid), len(req.Valid))
	}
	req.Valid = append(req.Valid, req.Valid...)
	if err := agentapi.WriteRequest(client, req, nil); err == nil || !strings.Contains(err.Error(), "the limit is") {
		t.Errorf("a request above the limit was sent: %v", err)
	}
}

func TestTooManyDescriptors(t *testing.T) {
	for name, files := range map[string]int{"two": 2, "more than the buffer": 9} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			if err := writeDescriptors(client, files); err != nil {
				t.Fatal(err)
			}
			if _, f, err := agentapi.ReadRequest(server); err == nil || f != nil || !strings.Contains(err.Error(), "descriptors") {
				t.Errorf("ReadRequest accepted %d descriptors: %v %v", files, f, err)
			}
		})
	}
}

// A newer side may add fields, and an older side may leave them out.
func TestOtherVersions(t *testing.T) {
	client, server := pair(t)
	body := `{"version":2,"verb":"ADD","attachment":{"network":"n","containerID":"c","ifName":"eth0","card":1},"policy":{"a":[1]}}`
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, err := client.Write(append(msg, body...)); err != nil {
		t.Fatal(err)
	}
	got, _, err := agentapi.ReadRequest(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("a newer plugin is refused: %v", err)
	}
	if got := got.Attachment.String(); got != "n/c/eth0" {
		t.Errorf("attachment %s", got)
	}
}

func TestValidate(t *testing.T) {
	a := agentapi.Attachment{Network: "n", ContainerID: "c", IfName: "eth0"}
	tests := []struct {
		name string
		req  agentapi.Request
		want agentapi.Code
	}{
		{"add", agentapi.Request{Version: 1, Verb: agentapi.Add, Attachment: a}, 0},
		{"status", agentapi.Request{Version: 1, Verb: agentapi.Status}, 0},
		{"no version", agentapi.Request{Verb: agentapi.Add, Attachment: a}, agentapi.CodeProtocol},
		{"unknown verb", agentapi.Request{Version: 1, Verb: "MOVE"}, agentapi.CodeProtocol},
		{"no container", agentapi.Request{Version: 1, Verb: agentapi.Del, Attachment: agentapi.Attachment{Network: "n", IfName: "eth0"}}, agentapi.CodeEnvironment},
		{"no interface", agentapi.Request{Version: 1, Verb: agentapi.Check, Attachment: agentapi.Attachment{Network: "n", ContainerID: "c"}}, agentapi.CodeEnvironment},
		{"no network", agentapi.Request{Version: 1, Verb: agentapi.GC}, agentapi.CodeConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got agentapi.Code
			if err := tt.req.Validate(); err != nil {
				got = err.Code
			}
			if got != tt.want {
				t.Errorf("code %d, want %d", got, tt.want)
			}
		})
	}
}

func TestClientWithoutAgent(t *testing.T) {
	silent := filepath.Join(t.TempDir(), "silent")
	l, err := net.Listen("unix", silent) // accepts in its backlog, answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, socket := range map[string]string{"no socket": filepath.Join(t.TempDir(), "none"), "no answer": silent} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := agentapi.Client{Socket: socket}.Do(request(), nil, 50*time.Millisecond)
			if _, ok := errors.AsType[*agentapi.UnreachableError](err); !ok {
				t.Errorf("error %v (%T), want UnreachableError", err, err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestCodesAreDocumented(t *testing.T) {
	documented := map[agentapi.Code]bool{}
	last := agentapi.Code(0)
	for _, c := range agentapi.Codes() {
		if c.Code <= last || c.Name == "" || c.Cause == "" || c.Remedy == "" {
			t.Errorf("code %d after %d: not in order or not complete: %+v", c.Code, last, c)
		}
		last, documented[c.Code] = c.Code, true
	}
	for _, c := range []agentapi.Code{
		agentapi.CodeUnknownContainer, agentapi.CodeEnvironment, agentapi.CodeIO, agentapi.CodeDecode, agentapi.CodeConfig,
		agentapi.CodeTryAgainLater, agentapi.CodeNotAvailable, agentapi.CodeLimited, agentapi.CodeWire, agentapi.CodeJournal,
		agentapi.CodeMismatch, agentapi.CodeProtocol, agentapi.CodeUnwire, agentapi.CodeInternal,
	} {
		if !documented[c] {
			t.Errorf("code %d is not documented", c)
		}
	}
}

func message(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func FuzzReadReply(f *testing.F) {
	f.Add(message(`{"version":1,"added":{"addrs":["10.0.0.1"]}}`))
	f.Add(message(`{"version":1,"error":{"code":11,"msg":"m"}}`))
	f.Add([]byte{0, 0, 0, 9, '{'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, err := agentapi.ReadReply(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := json.Marshal(reply); err != nil {
			t.Errorf("decoded reply %+v cannot be encoded: %v", reply, err)
		}
	})
}

// FuzzReadRequest feeds raw bytes to the agent's side, as any process with access to the socket could.
func FuzzReadRequest(f *testing.F) {
	f.Add(message(`{"version":1,"verb":"ADD","attachment":{"network":"n","containerID":"c","ifName":"eth0"}}`), false)
	f.Add(message(`{"version":1,"verb":"GC","valid":[{}],"previous":{"addrs":["x"]}}`), true)
	f.Add([]byte{0, 16, 0, 1}, true)
	f.Fuzz(func(t *testing.T, data []byte, withDescriptor bool) {
		if len(data) > 32<<10 || len(data) == 0 {
			return // more than a socket's buffer would block the write
		}
		client, server := pair(t)
		var err error
		if withDescriptor {
			err = writeRaw(client, data, 1)
		} else {
			_, err = client.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		req, netns, err := agentapi.ReadRequest(server)
		if err != nil {
			if netns != nil {
				t.Error("a descriptor came with an error")
			}
			return
		}
		if netns != nil {
			netns.Close()
		}
		_ = req.Validate()
		if _, err := json.Marshal(req); err != nil {
			t.Errorf("decoded request %+v cannot be encoded: %v", req, err)
		}
	})
}
