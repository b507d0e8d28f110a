package apiserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// TestPodsOfALargeClusterAreReadToTheEnd: a list was cut off at 256 MiB, as 30,000 pods are; then an agent never knew what policies
// depend on, and no pod started on its node.
func TestPodsOfALargeClusterAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	const pods, size = 300, 1 << 20
	padding := bytes.Repeat([]byte("x"), size)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"7"},"items":[`)
		for i := range pods {
			_, _ = fmt.Fprintf(w, `%s{"metadata":{"name":"pod-%d","managedFields":"`, map[bool]string{true: ","}[i > 0], i)
			_, _ = w.Write(padding)
			_, _ = io.WriteString(w, `"}}`)
		}
		_, _ = io.WriteString(w, `]}`)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := apiserver.Connect(file, "", "test")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	meta, err := apiserver.List(t.Context(), api, apiserver.Get("/api/v1/pods"), "items", func(apiserver.Head) { n++ })
	if err != nil || n != pods || meta.ResourceVersion != "7" {
		t.Errorf("%d pods, %+v, %v", n, meta, err)
	}
}
