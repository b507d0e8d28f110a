package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNamesAreFresh fails when names_gen.go is not what the pinned SDK and operations.txt give.
func TestNamesAreFresh(t *testing.T) {
	want, err := generate("../operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../names_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("names_gen.go is stale, run go generate (-want +got):\n%s", diff)
	}
}

func TestUnknownOperation(t *testing.T) {
	dir, _, err := sdkDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readTables(dir, []string{"DescribeUnicorns"}); err == nil {
		t.Error("an operation that the SDK does not have was accepted")
	}
}
