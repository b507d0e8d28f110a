package dialect_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/core/policy/dialect"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads each resource of testdata: "-- name.yaml --" is one as a user writes it, "-- name --" what it means, and what is
// wrong in it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	updated := txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		got := render(t, f.Data)
		if d := cmp.Diff(want[name], got); d != "" && !*update {
			t.Errorf("%s:\n%s", name, d)
		}
		updated.Files = append(updated.Files, f, txtar.File{Name: name, Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(&updated), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// render is a resource's meaning as text, then its problems.
func render(t *testing.T, resource []byte) string {
	t.Helper()
	data, err := yaml.YAMLToJSON(resource)
	if err != nil {
		t.Fatal(err)
	}
	p, problems, err := dialect.Read(data)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	b.WriteString(p.String())
	for _, problem := range problems {
		b.WriteString("! " + problem.String() + "\n")
	}
	return b.String()
}
