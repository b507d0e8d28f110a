package berth_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestDocsLengths(t *testing.T) {
	limits := map[string]int{"README.md": 90, "ARCHITECTURE.md": 300}
	adrs, err := filepath.Glob("docs/adr/[0-9]*.md")
	if err != nil || len(adrs) == 0 {
		t.Fatalf("decisions: %v, %v", adrs, err)
	}
	for _, name := range adrs {
		limits[name] = 60
	}
	for name, limit := range limits {
		if n := strings.Count(read(t, name), "\n"); n > limit {
			t.Errorf("%s has %d lines, at most %d", name, n, limit)
		}
	}
}

// TestDocsDecisionsAreWhole: a decision says also what was rejected, and how one would notice that it was wrong.
func TestDocsDecisionsAreWhole(t *testing.T) {
	adrs, err := filepath.Glob("docs/adr/[0-9]*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range adrs {
		text := read(t, name)
		for _, heading := range []string{"Context", "Decision", "Rejected", "Non-goals", "Consequences", "How we would notice that it was wrong"} {
			if !strings.Contains(text, "\n## "+heading+"\n") {
				t.Errorf("%s has no section %q", name, heading)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestDocsLinksLeadSomewhere(t *testing.T) {
	for _, p := range tree(t) {
		if !strings.HasSuffix(p, ".md") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(read(t, p), -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			if _, err := os.Stat(path.Join(path.Dir(p), to)); err != nil {
				t.Errorf("%s links to %s, which is not there", p, to)
			}
		}
	}
}

// TestDocsExplainEveryReason: every reason that a user can see has a line in the runbook.
func TestDocsExplainEveryReason(t *testing.T) {
	text := read(t, "docs/runbook/pods-waiting.md")
	found := 0
	for _, f := range goFiles(t) {
		if f.path != "internal/core/ipam/explain.go" && f.path != "internal/node/add.go" {
			continue
		}
		for _, why := range reasons(f) {
			found++
			if !strings.Contains(text, "| `"+why+"` |") {
				t.Errorf("docs/runbook/pods-waiting.md has no line on %s of %s", why, f.path)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d reasons were found in the code: this test looks in the wrong place", found)
	}
}

// reasons are the constants of type Why.
func reasons(f file) []string {
	var all []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, _ := spec.Type.(*ast.Ident)
		if sel, ok := spec.Type.(*ast.SelectorExpr); ok {
			name = sel.Sel
		}
		value, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || name == nil || name.Name != "Why" {
			return true
		}
		if why, err := strconv.Unquote(value.Value); err == nil {
			all = append(all, why)
		}
		return true
	})
	return all
}

var target = regexp.MustCompile("`(?:sudo )?make ([a-z0-9-]+)")

// TestDocsTargets: a text names no target that the Makefile lacks, and every target is a few lines with a word of help.
func TestDocsTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, name := range []string{"lab/build.mk", "lab/helm.mk", "lab/coredns.mk"} {
		if _, err := os.Stat(name); err == nil {
			makefile += read(t, name)
		}
	}
	for _, p := range tree(t) {
		if !strings.HasSuffix(p, ".md") {
			continue
		}
		for _, m := range target.FindAllStringSubmatch(read(t, p), -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s says make %s, which is no target", p, m[1])
			}
		}
	}
	name, lines := "", 0
	for line := range strings.Lines(read(t, "Makefile")) {
		switch {
		case strings.HasPrefix(line, "\t"):
			if lines++; lines > 5 {
				t.Errorf("target %s has more than 5 lines: put a script into hack/", name)
			}
		case strings.Contains(line, ":"):
			name, lines = strings.SplitN(line, ":", 2)[0], 0
		}
	}
}
