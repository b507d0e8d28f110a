package agentapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/agentapi"
)

// testdata/v1 has the messages of version 1 as they were when it was the only one. They are never edited: plugins and agents
// of that version are out there. A next version gets a folder of its own.

// golden reads the messages of a kind, by verb or outcome.
func golden(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/v1/*." + kind + ".json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no messages: %v", err)
	}
	all := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.SplitN(filepath.Base(p), ".", 2)[0]] = bytes.TrimSpace(data)
	}
	return all
}

// contains says what of an old message a new one does not have, or has otherwise. What is new in it does not matter: the
// old side ignores it.
func contains(old, now any, path string) string {
	switch o := old.(type) {
	case map[string]any:
		n, ok := now.(map[string]any)
		if !ok {
			return path + " is no object any more"
		}
		for k, v := range o {
			if s, empty := v.(string); empty && s == "" && n[k] == nil {
				continue
			}
			if why := contains(v, n[k], path+"."+k); why != "" {
				return why
			}
		}
		return ""
	default:
		return cmp.Diff(old, now)
	}
}

func decoded(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

// The agent of today understands the plugin of version 1, and what the plugin of today says of the same is understood by the
// agent of version 1.
func TestRequestsOfVersion1(t *testing.T) {
	for name, data := range golden(t, "request") {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			if _, err := client.Write(message(string(data))); err != nil {
				t.Fatal(err)
			}
			req, _, err := agentapi.ReadRequest(server)
			if err != nil {
				t.Fatal(err)
			}
			if err := req.Validate(); err != nil {
				t.Errorf("refused: %v", err)
			}
			sent := make(chan error, 1)
			go func() { sent <- agentapi.WriteRequest(client, req, nil) }()
			now := make([]byte, 1<<16)
			n, err := server.Read(now)
			if err = errors.Join(err, <-sent); err != nil {
				t.Fatal(err)
			}
			if why := contains(decoded(t, data), decoded(t, now[4:n]), "request"); why != "" {
				t.Errorf("an agent of version 1 reads something else:\n%s\n%s", why, now[4:n])
			}
		})
	}
}

// The plugin of today understands the agent of version 1, and the plugin of version 1 that of today.
func TestRepliesOfVersion1(t *testing.T) {
	for name, data := range golden(t, "reply") {
		t.Run(name, func(t *testing.T) {
			reply, err := agentapi.ReadReply(bytes.NewReader(message(string(data))))
			if err != nil {
				t.Fatal(err)
			}
			if (reply.Error != nil) != (name == "error") || (reply.Added != nil) != (name == "check") || (reply.Result != nil) != (name == "add") {
				t.Errorf("%+v", reply)
			}
			now, err := json.Marshal(reply)
			if err != nil {
				t.Fatal(err)
			}
			if why := contains(decoded(t, data), decoded(t, now), "reply"); why != "" {
				t.Errorf("a plugin of version 1 reads something else:\n%s\n%s", why, now)
			}
		})
	}
}

// One version apart works in both directions; what is too far apart says so.
func TestVersionsOneApart(t *testing.T) {
	if agentapi.MinVersion > max(agentapi.Version-1, 1) {
		t.Errorf("version %d understands from %d on: the one before must be among them", agentapi.Version, agentapi.MinVersion)
	}
	for _, tt := range []struct {
		version int
		ok      bool
	}{{agentapi.MinVersion - 1, false}, {agentapi.MinVersion, true}, {agentapi.Version, true}, {agentapi.Version + 1, true}} {
		req := agentapi.Request{Version: tt.version, Verb: agentapi.Status}
		if err := req.Validate(); (err == nil) != tt.ok {
			t.Errorf("version %d: %v", tt.version, err)
		}
	}
}
