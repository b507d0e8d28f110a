package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedFilesAreFresh(t *testing.T) {
	t.Parallel()
	files, err := generate("../types.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale (go generate ./api/v1alpha1):\n%s", name, diff)
		}
	}
}

func TestTypesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ types, want string }{
		"no Go":             {"type", "parse types"},
		"no such type":      {"package p\n", "there is no type NodeSettings"},
		"unknown marker":    {"package p\n// +kubebuilder:skip\ntype NodeSettings struct{}\n", "marker kubebuilder:skip of NodeSettings is not known"},
		"unknown type":      {"package p\ntype NodeSettings struct {\n\tA chan int `json:\"a\"`\n}\n", "field a of NodeSettings"},
		"number that is no": {"package p\ntype NodeSettings struct {\n\t// +kubebuilder:validation:Minimum=x\n\tA int32 `json:\"a\"`\n}\n", "marker kubebuilder:validation:Minimum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "types.go")
			if err := os.WriteFile(path, []byte(test.types), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := generate(path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
