package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURIs(t *testing.T) {
	out := `Reading package lists...
'scheme://archive/pool/main/libc/libcap2/libcap2_2.66-4_amd64.deb' libcap2_1%3a2.66-4+b1_amd64.deb 27708 MD5Sum:0
'scheme://archive/pool/x_1.0~rc1_all.deb' x_1.0~rc1_all.deb 10 SHA256:0
'scheme://archive/odd' odd 10 SHA256:0
`
	want := []file{
		{name: "libcap2", version: "1:2.66-4+b1", file: "libcap2_1%3a2.66-4+b1_amd64.deb"},
		{name: "x", version: "1.0~rc1", file: "x_1.0~rc1_all.deb"},
	}
	if diff := cmp.Diff(want, parseURIs(out), cmp.AllowUnexported(file{})); diff != "" {
		t.Error(diff)
	}
}

func TestLeaves(t *testing.T) {
	set := Set{Without: []string{"perl*", "dpkg"}}
	for name, want := range map[string]bool{"perl": true, "perl-base": true, "libperl5": false, "dpkg": true, "dpkg-dev": false} {
		if got := set.leaves(name); got != want {
			t.Errorf("leaves %s out: %v, want %v", name, got, want)
		}
	}
}

func TestFingerprintTellsSetsApart(t *testing.T) {
	same, other := Node(), Node()
	if Node().fingerprint() != same.fingerprint() {
		t.Error("the same set has two fingerprints")
	}
	other.Links["usr/bin/x"] = "y"
	if Node().fingerprint() == other.fingerprint() {
		t.Error("a link more is not seen")
	}
}

// TestExtractKeepsMergedLinks makes a package with a file in /lib, which must land below /usr.
func TestExtractKeepsMergedLinks(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb")
	}
	source := t.TempDir()
	for path, text := range map[string]string{
		"DEBIAN/control": "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n", "lib/x.so": "library",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pkg, root := filepath.Join(t.TempDir(), "x.deb"), filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", source, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := skeleton(root); err != nil {
		t.Fatal(err)
	}
	if err := extract(t.Context(), pkg, root); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "usr/lib/x.so")); err != nil || string(text) != "library" {
		t.Errorf("usr/lib/x.so is %q, %v", text, err)
	}
	if to, err := os.Readlink(filepath.Join(root, "lib")); err != nil || to != "usr/lib" {
		t.Errorf("lib is %q, %v", to, err)
	}
}

// echoRoot makes a root whose loader says how it was called.
func echoRoot(t *testing.T, root string) {
	t.Helper()
	for _, path := range []string{"usr/lib/x86_64-linux-gnu/x", "usr/lib64/ld-linux-x86-64.so.2", "usr/sbin/tool"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte("#!/bin/sh\necho $A \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrapperRunsTheProgram(t *testing.T) {
	root := t.TempDir()
	echoRoot(t, root)
	bin := t.TempDir()
	w := Wrapper{Name: "tool", Root: root, Program: "usr/sbin/tool", Args: []string{"-f", "%R/conf"}, Env: map[string]string{"A": "%T"}}
	if err := w.Write(bin); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(bin, "tool"), "two words").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(out)), "x86_64-linux-gnu "+called(root, "two words"); got != want {
		t.Errorf("called with\n%s\nwant\n%s", got, want)
	}
	w.Program = "usr/sbin/absent"
	if err := w.Write(bin); err == nil {
		t.Error("a wrapper for a program that is not there")
	}
}

// called is how the wrapper of a tool calls the loader of a root.
func called(root, args string) string {
	libs := filepath.Join(root, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(root, "usr/lib")
	return "--library-path " + libs + " --argv0 tool " + root + "/usr/sbin/tool -f " + root + "/conf " + args
}

// TestNoSuchFileAfterTheCheckoutWasMoved: programs of a copied or moved checkout were those of the first place, or, once
// that was gone, none.
func TestNoSuchFileAfterTheCheckoutWasMoved(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "a second place")
	echoRoot(t, filepath.Join(first, "deb/node"))
	if err := os.Mkdir(filepath.Join(first, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := Wrapper{Name: "tool", Root: filepath.Join(first, "deb/node"), Program: "usr/sbin/tool", Args: []string{"-f", "%R/conf"}}
	if err := w.Write(filepath.Join(first, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(first, second); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"cache": "a second place", "link": "a second place/bin/tool"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, program string }{
		{"by its path", filepath.Join(second, "bin/tool")},
		{"by a path from here", "./a second place/bin/tool"},
		{"in a folder that is a link", filepath.Join(dir, "cache/bin/tool")},
		{"as a link", filepath.Join(dir, "link")},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(test.program, "x")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if want := called(filepath.Join(second, "deb/node"), "x"); err != nil || strings.TrimSpace(string(out)) != want {
				t.Errorf("%v: called with\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}
