package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/lab/internal/image"
)

// members are the names and contents of a tar.
func members(t *testing.T, r io.Reader) (names []string, content map[string]string) {
	t.Helper()
	content = map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			body = []byte("-> " + h.Linkname)
		}
		names = append(names, h.Name)
		content[h.Name] = string(body)
	}
}

// build writes an image and returns its archive's and its layer's members.
func build(t *testing.T, spec image.Spec) (archive, layer map[string]string, order []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := image.Write(spec, file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	_, archive = members(t, f)
	for name, body := range archive {
		if strings.HasSuffix(name, "/layer.tar") {
			order, layer = members(t, strings.NewReader(body))
		}
	}
	return archive, layer, order
}

func TestWrite(t *testing.T) {
	program := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(program, []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := image.Spec{
		Names:  []string{"example/app:1", "example/app:2"},
		Files:  []image.File{{Path: "/usr/bin/app", From: program}, {Path: "etc/conf", Content: "x=1\n"}},
		Dirs:   []string{"/tmp", "/var/lib/app"},
		Links:  map[string]string{"/app": "usr/bin/app"},
		Config: image.Config{Entrypoint: []string{"/app"}, ExposedTCP: []uint16{53}},
	}
	archive, layer, order := build(t, spec)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal([]byte(archive["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(manifest[0].RepoTags, spec.Names) || archive[manifest[0].Layers[0]] == "" {
		t.Errorf("manifest is %+v", manifest)
	}
	if config := archive[manifest[0].Config]; !strings.Contains(config, `"53/tcp"`) || !strings.Contains(config, `"Entrypoint":["/app"]`) {
		t.Errorf("config is %s", config)
	}
	if layer["usr/bin/app"] != "binary" || layer["etc/conf"] != "x=1\n" || layer["app"] != "-> usr/bin/app" {
		t.Errorf("layer is %v", layer)
	}
	for _, parent := range []string{"usr/", "usr/bin/", "etc/", "tmp/", "var/", "var/lib/", "var/lib/app/"} {
		if _, ok := layer[parent]; !ok {
			t.Errorf("no directory %s", parent)
		}
	}
	if slices.Index(order, "usr/") > slices.Index(order, "usr/bin/app") {
		t.Errorf("a file comes before its directory: %v", order)
	}
}

func TestWriteIsTheSameEachTime(t *testing.T) {
	spec := image.Spec{
		Names: []string{"example/app:1"},
		Files: []image.File{{Path: "/b", Content: "b"}, {Path: "/a", Content: "a"}},
		Links: map[string]string{"/x": "a", "/y": "b", "/z": "c"},
	}
	var first []byte
	for i := range 5 {
		file := filepath.Join(t.TempDir(), "image.tar")
		if err := image.Write(spec, file); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = got
		} else if !bytes.Equal(first, got) {
			t.Fatal("the same image has two digests")
		}
	}
}

// TestProgramBringsItsLibraries takes the machine's own shell.
func TestProgramBringsItsLibraries(t *testing.T) {
	_, layer, _ := build(t, image.Spec{Names: []string{"example/sh:1"}, Programs: []image.Program{{Path: "/bin/sh", As: "/bin/sh"}}})
	var loader, libc bool
	for name := range layer {
		loader = loader || strings.Contains(name, "ld-linux") || strings.Contains(name, "/ld.so")
		libc = libc || strings.Contains(name, "libc.so")
	}
	if !loader || !libc {
		t.Errorf("the shell came without loader (%v) or C library (%v)", loader, libc)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec image.Spec
	}{
		{"no name", image.Spec{}},
		{"missing file", image.Spec{Names: []string{"a:1"}, Files: []image.File{{Path: "/x", From: "/nonexistent"}}}},
		{"missing program", image.Spec{Names: []string{"a:1"}, Programs: []image.Program{{Path: "/nonexistent"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image.tar")
			if err := image.Write(tc.spec, file); err == nil {
				t.Error("no error")
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("an archive was left")
			}
		})
	}
}
