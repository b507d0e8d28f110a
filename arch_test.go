package berth_test

import (
	"cmp"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests of this package hold the architecture: who imports whom here, sizes and comments in style_test.go, modules in
// gomod_test.go, texts in docs_test.go. ARCHITECTURE.md says what the rules are for.

const module = "github.com/berth-net/berth"

// file is a parsed Go file of any module of the repository.
type file struct {
	path      string // from the root, with slashes
	test      bool
	generated bool
	ast       *ast.File
	fset      *token.FileSet
	lines     int
	imports   []string
}

func (f file) dir() string { return path.Dir(f.path) }

// lineOf is where a node begins.
func (f file) lineOf(p token.Pos) int { return f.fset.Position(p).Line }

// tree lists the files of the repository that are its own: no built, unpacked or hidden ones.
func tree(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (p == "bin" || p == "out" || strings.HasPrefix(d.Name(), ".") && p != "." && p != ".ci"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			paths = append(paths, filepath.ToSlash(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	for _, p := range tree(t) {
		if !strings.HasSuffix(p, ".go") || strings.Contains("/"+p, "/testdata/") {
			continue
		}
		src, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody is at work
		}
		if err != nil {
			t.Fatal(err)
		}
		f := file{path: p, test: strings.HasSuffix(p, "_test.go") || strings.HasPrefix(p, "internal/testkit/"), fset: token.NewFileSet()}
		if f.ast, err = parser.ParseFile(f.fset, p, src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Errorf("parse %s: %v", p, err)
			continue
		}
		f.generated = ast.IsGenerated(f.ast)
		f.lines = strings.Count(string(src), "\n")
		for _, i := range f.ast.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			f.imports = append(f.imports, name)
		}
		files = append(files, f)
	}
	return files
}

// own is the folder of an import of ours, empty for any other.
func own(name string) string {
	if rest, ok := strings.CutPrefix(name, module+"/"); ok {
		return rest
	}
	return ""
}

// under tells whether a folder is one of those named, or below one.
func under(dir string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

var (
	features = []string{"internal/enforce", "internal/node", "internal/cluster", "internal/migrate", "internal/doctor"}
	adapters = []string{"internal/aws", "internal/linux", "internal/bpf", "internal/kube", "internal/agentapi", "internal/vpcsim"}
)

// coreEdges are the imports inside core.
var coreEdges = map[string][]string{
	"internal/core/vpc":            {},
	"internal/core/budget":         {},
	"internal/core/subnet":         {"internal/core/vpc"},
	"internal/core/ledger":         {"internal/core/vpc"},
	"internal/core/pace":           {"internal/core/vpc"},
	"internal/core/target":         {},
	"internal/core/profile":        {},
	"internal/core/pool":           {"internal/core/vpc", "internal/core/subnet", "internal/core/ledger", "internal/core/pace", "internal/core/target"},
	"internal/core/ipam":           {"internal/core/vpc", "internal/core/subnet", "internal/core/ledger", "internal/core/pace", "internal/core/target", "internal/core/pool"},
	"internal/core/hostnet":        {"internal/core/vpc"},
	"internal/core/policy":         {},
	"internal/core/policy/tables":  {},
	"internal/core/policy/dialect": {"internal/core/policy"},
	"internal/core/policy/peers":   {"internal/core/policy"},
	"internal/core/policy/reach":   {"internal/core/policy"},
	"internal/core/policy/names":   {"internal/core/policy"},
	"internal/core/policy/compile": {"internal/core/policy", "internal/core/policy/tables", "internal/core/policy/peers"},
	"internal/core/proof":          {"internal/core/vpc", "internal/core/policy"},
}

// notInCore are the packages of the standard library that do I/O, read a clock or make random numbers. Package time is
// allowed for its values; the linter refuses the functions that read the clock.
var notInCore = []string{
	"os", "io/ioutil", "io/fs", "syscall", "net", "plugin", "math/rand", "crypto/rand", "log", "runtime", "sync", "testing", "unsafe",
}

// inCore are packages below one of notInCore that are values after all.
var inCore = []string{"net/netip"}

// coreExceptions allow one import of one file.
var coreExceptions = map[string]string{
	"internal/core/vpc/limits.go sync": "sync.OnceValue: the embedded table of limits is parsed once, at its first use",
}

func TestCoreIsPure(t *testing.T) {
	for _, f := range goFiles(t) {
		if !under(f.dir(), "internal/core") || f.test {
			continue
		}
		for _, name := range f.imports {
			switch {
			case own(name) != "":
				if !slices.Contains(coreEdges[f.dir()], own(name)) {
					t.Errorf("%s imports %s: inside core the edges are vpc <- subnet, ledger, pace, target <- pool <- ipam, vpc <- hostnet, vpc <- policy <- proof", f.path, own(name))
				}
			case name == "go4.org/netipx" || name == "github.com/gaissmai/bart" || slices.Contains(inCore, name):
			case strings.Contains(strings.Split(name, "/")[0], "."):
				t.Errorf("%s imports %s: core knows the standard library, netipx and bart", f.path, name)
			case under(name, notInCore...) && coreExceptions[f.path+" "+name] == "":
				t.Errorf("%s imports %s: core does no I/O, reads no clock and starts no goroutine", f.path, name)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s:%d starts a goroutine: core starts none", f.path, f.lineOf(s.Pos()))
			}
			return true
		})
	}
}

func TestDirectionOfImports(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, name := range f.imports {
			if why := wrongWay(f, own(name)); why != "" {
				t.Errorf("%s imports %s: %s", f.path, own(name), why)
			}
		}
	}
}

// wrongWay says why a file must not import a folder of ours.
func wrongWay(f file, to string) string {
	from := f.dir()
	switch {
	case to == "":
		return ""
	case under(to, "internal/testkit") && !f.test:
		return "only tests import the test kit"
	case under(to, "cmd") && !strings.HasPrefix(to, from+"/"):
		return "nothing imports a command"
	case under(to, "lab") && !under(from, "lab"):
		return "the lab stands on the product, never the other way round"
	case f.test:
		return ""
	case under(from, features...) && under(to, adapters...):
		return "a feature declares the interface that it needs; cmd passes the adapter in"
	case under(from, adapters...) && under(to, features...):
		return "an adapter knows no feature"
	case under(from, adapters...) && under(to, adapters...) && adapterOf(from) != adapterOf(to):
		return "adapters do not know each other"
	case under(from, "internal/vpcsim") && under(to, "internal/core") && to != "internal/core/vpc":
		return "the simulated VPC knows the vocabulary of core and none of its decisions"
	case under(from, "internal/run") && under(to, "internal"):
		if !under(to, "internal/run") {
			return "process plumbing knows nothing of the product"
		}
	}
	return ""
}

func adapterOf(dir string) string {
	i := slices.IndexFunc(adapters, func(a string) bool { return under(dir, a) })
	return adapters[i]
}

// outside are the packages of others that only one place may use, and where that is. Tests of cmd use what they drive.
var outside = map[string][]string{
	"github.com/aws/aws-sdk-go-v2/service/ec2":      {"internal/aws", "internal/vpcsim/wire"},
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds": {"internal/aws"},
	"github.com/vishvananda/netlink":                {"internal/linux", "internal/vpcsim/fabric", "internal/testkit", "lab"},
	"github.com/vishvananda/netns":                  {"internal/linux", "internal/vpcsim/fabric", "internal/testkit", "lab"},
	"sigs.k8s.io/knftables":                         {"internal/linux"},
	"github.com/cilium/ebpf":                        {"internal/bpf", "internal/vpcsim/fabric"},
	"k8s.io/client-go":                              {"internal/kube", "internal/cluster", "cmd", "lab", "internal/testkit"},
	"sigs.k8s.io/controller-runtime":                {"internal/cluster", "cmd", "lab"},
	"github.com/spf13/cobra":                        {"cmd/berth", "lab"},
	"github.com/prometheus/client_golang":           {"internal/run", "cmd", "lab"},
}

func TestOneAdapterPerTechnology(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, name := range f.imports {
			for _, pkg := range slices.Sorted(maps.Keys(outside)) {
				if under(name, pkg) && !under(f.dir(), outside[pkg]...) {
					t.Errorf("%s imports %s: only %s may", f.path, name, strings.Join(outside[pkg], ", "))
				}
			}
		}
	}
}

// closure is everything that a package of the main module links.
func closure(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what %v imports: %v", patterns, err)
	}
	return strings.Fields(string(out))
}

func TestPluginIsSmall(t *testing.T) {
	for _, name := range closure(t, "./cmd/berth-cni") {
		for _, bad := range []string{"k8s.io", "sigs.k8s.io", "github.com/aws", "github.com/vishvananda/netlink", "net/http", "github.com/spf13/cobra", "crypto/tls"} {
			if under(name, bad) {
				t.Errorf("berth-cni links %s: it starts for every pod, holds no logic and asks the agent", name)
			}
		}
		if dir := own(name); under(dir, "internal/core", "internal/node", "internal/linux", "internal/aws", "internal/kube") {
			t.Errorf("berth-cni links %s: it holds no logic of its own", dir)
		}
	}
}

// TestFabricsPlanIsPure: what the simulated VPC's network should be is a value; only the package above it touches the kernel.
func TestFabricsPlanIsPure(t *testing.T) {
	for _, name := range closure(t, "./internal/vpcsim/fabric/plan") {
		if under(name, "github.com/vishvananda", "golang.org/x/sys", "os/exec", "net/http") {
			t.Errorf("vpcsim/fabric/plan links %s", name)
		}
	}
}

// TestMistakesDoNotCancelOut: what is checked against the simulator shares no code with it, so that one mistake in shared code
// cannot make both sides agree.
func TestMistakesDoNotCancelOut(t *testing.T) {
	for _, pair := range [][2]string{
		{"./internal/aws/...", "./internal/vpcsim/wire/..."},
		{"./internal/linux/...", "./internal/vpcsim/fabric/..."},
	} {
		theirs := closure(t, pair[1])
		for _, name := range closure(t, pair[0]) {
			// The vocabulary and the keys of log lines hold no behaviour.
			if dir := own(name); dir != "" && dir != "internal/core/vpc" && dir != "internal/run" && slices.Contains(theirs, name) {
				t.Errorf("%s and %s both use %s: they share only core/vpc", pair[0], pair[1], dir)
			}
		}
	}
}

// TestLabStaysApart: the lab brings a Kubernetes of its own, so what it takes from the product must import none.
func TestLabStaysApart(t *testing.T) {
	used := make(map[string]string)
	for _, f := range goFiles(t) {
		if !under(f.dir(), "lab") {
			continue
		}
		for _, name := range f.imports {
			if dir := own(name); dir != "" && !under(dir, "lab") {
				used["./"+dir] = f.path
			}
		}
	}
	if len(used) == 0 {
		t.Skip("the lab uses nothing of the product")
	}
	for _, pattern := range slices.Sorted(maps.Keys(used)) {
		for _, name := range closure(t, pattern) {
			if under(name, "k8s.io") {
				t.Errorf("%s imports %s, which links %s", used[pattern], cmp.Or(own(pattern), pattern), name)
				break
			}
		}
	}
}
