package hostnet_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// document describes the datapath to people; its dumps are the golden files.
var document = filepath.Join("..", "..", "..", "docs", "datapath.md")

// dump is a golden file's place in the document: a comment that names it and the block that follows.
var dump = regexp.MustCompile("(?s)<!-- ([a-z0-9-]+) -->\n```text\n(.*?)```\n")

// TestDocumentShowsGoldenFiles holds the dumps of docs/datapath.md to the golden files; -update writes them anew.
func TestDocumentShowsGoldenFiles(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	want := dump.ReplaceAllStringFunc(string(text), func(block string) string {
		found++
		name := dump.FindStringSubmatch(block)[1]
		golden, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		return "<!-- " + name + " -->\n```text\n" + string(golden) + "```\n"
	})
	if found == 0 {
		t.Fatal("the document shows no golden file")
	}
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is stale (-golden +document); go test ./internal/core/hostnet -update writes it:\n%s", document, diff)
	}
}
