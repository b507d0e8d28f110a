package berth_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirement is a line of a go.mod.
type requirement struct {
	Path, Version string
	Indirect      bool
}

type goMod struct {
	Require []requirement
	Replace []struct{ Old, New requirement }
}

func readGoMod(t *testing.T, name string) goMod {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", name).Output()
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	var m goMod
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// modules are the go.mod files whose direct requirements are ours to choose. lab/kube repeats a release of Kubernetes.
var modules = []string{"go.mod", "lab/go.mod", "lab/helm/go.mod", "lab/coredns/go.mod", "lab/conformance/go.mod"}

// notUsed are modules that the standard library or another dependency makes needless, and what to use.
var notUsed = map[string]string{
	"github.com/pkg/errors":         "fmt.Errorf with %w",
	"go.uber.org/multierr":          "errors.Join",
	"github.com/stretchr/testify":   "testing and go-cmp",
	"github.com/onsi/ginkgo":        "testing",
	"github.com/onsi/gomega":        "testing and go-cmp",
	"github.com/golang/mock":        "a fake with state",
	"go.uber.org/mock":              "a fake with state",
	"github.com/vektra/mockery":     "a fake with state",
	"github.com/agiledragon":        "a fake with state",
	"github.com/spf13/viper":        "flags and variables read in cmd",
	"go.uber.org/zap":               "log/slog",
	"github.com/sirupsen/logrus":    "log/slog",
	"github.com/samber/lo":          "slices, maps, or a loop",
	"go.uber.org/dig":               "construct in main, in order",
	"google.golang.org/grpc":        "encoding/json over a unix socket",
	"github.com/coreos/go-iptables": "knftables in internal/linux",
	"github.com/mattn/go-sqlite3":   "binaries are built without cgo",
}

func TestModulesNotUsed(t *testing.T) {
	for _, name := range modules {
		for _, r := range readGoMod(t, name).Require {
			for bad, instead := range notUsed {
				if !r.Indirect && under(r.Path, bad) {
					t.Errorf("%s requires %s: use %s", name, r.Path, instead)
				}
			}
		}
	}
}

// TestModulesAreTheirOwn: what ships builds from go.mod alone, for whoever installs it with the Go tool.
func TestModulesAreTheirOwn(t *testing.T) {
	if m := readGoMod(t, "go.mod"); len(m.Replace) > 0 {
		t.Errorf("go.mod replaces %v: nobody who depends on the module would get that", m.Replace)
	}
	for _, r := range readGoMod(t, "lab/go.mod").Replace {
		if r.Old.Path != module {
			t.Errorf("lab/go.mod replaces %s: it may only point at the main module beside it", r.Old.Path)
		}
	}
}

// TestLabUsesTheSameVersions: the lab runs what ships, so that what both link is the same.
func TestLabUsesTheSameVersions(t *testing.T) {
	main := readGoMod(t, "go.mod").Require
	for _, r := range readGoMod(t, "lab/go.mod").Require {
		i := slices.IndexFunc(main, func(m requirement) bool { return m.Path == r.Path })
		if i >= 0 && main[i].Version != r.Version {
			t.Errorf("lab/go.mod has %s %s, go.mod has %s", r.Path, r.Version, main[i].Version)
		}
	}
}

func TestDirectDependenciesAreExplained(t *testing.T) {
	text := read(t, "docs/adr/deps.md")
	for _, name := range modules {
		for _, r := range readGoMod(t, name).Require {
			if !r.Indirect && !under(r.Path, module) && !strings.Contains(text, "`"+r.Path+"`") {
				t.Errorf("docs/adr/deps.md has no line on %s of %s: why, size, who keeps it, way out", r.Path, name)
			}
		}
	}
}

// hosts are those of package registries, in two halves so that this file does not hold them.
var hosts = [][2]string{
	{"proxy.", "golang.org"},
	{"sum.", "golang.org"},
	{"deb.", "debian.org"},
	{"registry.", "npmjs.org"},
	{"files.pythonhosted", ".org"},
	{"crates", ".io"},
	{"rubygems", ".org"},
}

// TestNoMachineInTheTree: the repository works wherever it is cloned, and takes packages from where the machine takes them.
func TestNoMachineInTheTree(t *testing.T) {
	paths := regexp.MustCompile(`(^|[^\w.])(/` + `work/|/` + `home/[a-z]|/` + `Users/|/` + `root/(go|src|\.cache))`)
	for _, p := range tree(t) {
		if strings.HasSuffix(p, ".sum") || strings.HasPrefix(p, "LICENSE") {
			continue
		}
		data, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody is at work
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if strings.ContainsRune(text[:min(len(text), 8000)], 0) {
			continue // a program that somebody built
		}
		for _, h := range hosts {
			if strings.Contains(text, h[0]+h[1]) {
				t.Errorf("%s names %s%s: which registry is used is the machine's own setting", p, h[0], h[1])
			}
		}
		if at := paths.FindString(text); at != "" {
			t.Errorf("%s holds the path %q of some machine", p, at)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
