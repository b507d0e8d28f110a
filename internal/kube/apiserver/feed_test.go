package apiserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestListAfterAGatewayTimeoutIsNotFromAnOldCache: a proxy that was slow says the same as a server whose store was set back; the next list
// must be right in both cases, so no cache may answer it.
func TestListAfterAGatewayTimeoutIsNotFromAnOldCache(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := "none"
		if r.URL.Query().Has("resourceVersion") {
			version = r.URL.Query().Get("resourceVersion")
		}
		if r.URL.Query().Get("watch") == "true" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		asked = append(asked, version)
		if version == "7" {
			w.WriteHeader(http.StatusGatewayTimeout)
			_, _ = fmt.Fprint(w, "upstream request timeout")
			return
		}
		_, _ = fmt.Fprint(w, `{"kind":"List","metadata":{"resourceVersion":"7"},"items":[]}`)
	}))
	t.Cleanup(server.Close)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"" + server.URL + "\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
		"users: [{name: u, user: {}}]\ncurrent-context: c\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Connect(config, "", "test")
	if err != nil {
		t.Fatal(err)
	}
	seen := ""
	f := Feed[Head]{Path: "/api/v1/namespaces", Seen: &seen, List: func([]Head) {}, Change: func(Head, bool) {}}
	for range 4 {
		_ = f.Follow(t.Context(), a) // each watch breaks at once
	}
	if got, want := fmt.Sprint(asked), "[0 7 none 7]"; got != want {
		t.Errorf("lists asked for versions %s, want %s", got, want)
	}
}
