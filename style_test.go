package berth_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Sizes in lines. A function counts without the table data in it, a package without tests and generated files.
const (
	maxFunction  = 60
	maxFile      = 600
	maxPackage   = 2500
	maxInterface = 6
	// tableLines is from which size on a composite literal of literals is table data.
	tableLines = 8
)

// exceptions are what may be larger, a line each with its reason: "path.go Function", "path.go", "folder" or
// "path.go Interface". One that is not needed any more fails.
var exceptions = map[string]string{
	"internal/vpcsim/authorize.go Sim.targets":             "one switch: which resources each EC2 action touches",
	"internal/vpcsim/fabric/plan/tables_test.go interpret": "one switch: each command of nft's language that a plan may use",
}

// excess collects what is too large and which exceptions were used.
type excess struct {
	t    *testing.T
	used map[string]bool
}

func (e *excess) check(what string, size, limit int) {
	e.t.Helper()
	switch _, excused := exceptions[what]; {
	case size <= limit:
	case excused:
		e.used[what] = true
	default:
		e.t.Errorf("%s: %d, at most %d", what, size, limit)
	}
}

func TestSizes(t *testing.T) {
	e := &excess{t: t, used: make(map[string]bool)}
	packages := make(map[string]int)
	for _, f := range goFiles(t) {
		if f.generated {
			continue
		}
		e.check(f.path, f.lines, maxFile)
		if !f.test {
			packages[f.dir()] += f.lines
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				name := f.path + " " + nameOf(fn)
				e.check(name, functionLines(e, f, name, fn), maxFunction)
			}
		}
		if under(f.dir(), features...) && !f.test {
			checkInterfaces(e, f)
		}
	}
	for dir, lines := range packages {
		e.check(dir, lines, maxPackage)
	}
	for what := range exceptions {
		if !e.used[what] {
			t.Errorf("%s is within its limit: drop the exception", what)
		}
	}
}

// nameOf is a function's name, with its receiver's type.
func nameOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiver(fn) + "." + fn.Name.Name
}

func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// functionLines counts a function without the tables and text blocks in it and, in a test, without its subtests, which are checked by
// themselves.
func functionLines(e *excess, f file, name string, fn ast.Node) int {
	span := func(n ast.Node) int { return f.lineOf(n.End()) - f.lineOf(n.Pos()) }
	lines := span(fn) + 1
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if span(n) >= tableLines && !holdsCode(n, f.test) {
				lines -= span(n)
				return false
			}
		case *ast.BasicLit: // a text block
			if span(n) >= tableLines {
				lines -= span(n)
			}
		case *ast.FuncLit:
			if f.test && n != fn && span(n) >= tableLines {
				lines -= span(n)
				sub := fmt.Sprintf("%s's at %d", name, f.lineOf(n.Pos()))
				e.check(sub, functionLines(e, f, sub, n), maxFunction)
				return false
			}
		}
		return true
	})
	return lines
}

// holdsCode tells whether a literal has functions with more than a line or two in it, or a step or two in a test: then it is
// no table data.
func holdsCode(n ast.Node, test bool) bool {
	found, limit := false, 2
	if test {
		limit = 6
	}
	ast.Inspect(n, func(n ast.Node) bool {
		if fn, ok := n.(*ast.FuncLit); ok && len(fn.Body.List) > limit {
			found = true
		}
		return !found
	})
	return found
}

// checkInterfaces counts the methods that an interface declares itself, not those of interfaces that it embeds.
func checkInterfaces(e *excess, f file) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if i, ok := spec.Type.(*ast.InterfaceType); ok {
			methods := 0
			for _, m := range i.Methods.List {
				methods += len(m.Names)
			}
			e.check(f.path+" "+spec.Name.Name, methods, maxInterface)
		}
		return true
	})
}

func TestPackagesAreDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range goFiles(t) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		documented[f.dir()] = documented[f.dir()] || f.ast.Doc != nil
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			t.Errorf("%s has no package comment: say what it knows, what it guarantees and what it must never do", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, f := range goFiles(t) {
		if strings.HasSuffix(f.path, "_test.go") || f.generated || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s:%d: %s has no comment", f.path, f.lineOf(name.Pos()), name.Name)
			}
		}
	}
}

// undocumented lists a declaration's exported names that have no comment. The comment of a group counts for its members.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if cmp.Or(d.Doc, s.Doc, s.Comment) == nil && s.Name.IsExported() {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if cmp.Or(d.Doc, s.Doc, s.Comment) == nil && n.IsExported() {
						names = append(names, n)
					}
				}
			}
		}
		return names
	}
	return nil
}

// TestTestsDoNotSleep: a test waits for a condition, or runs under virtual time, where a sleep is exact and costs nothing.
func TestTestsDoNotSleep(t *testing.T) {
	for _, f := range goFiles(t) {
		if !f.test || slices.Contains(f.imports, "testing/synctest") {
			continue
		}
		virtual := linesSaying(f, "virtual time")
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && fmt.Sprint(s.X) == "time" && s.Sel.Name == "Sleep" && !virtual[f.lineOf(s.Pos())] {
				t.Errorf("%s:%d sleeps: wait for a condition (testkit.Eventually), or use testing/synctest", f.path, f.lineOf(s.Pos()))
			}
			return true
		})
	}
}

// linesSaying are the lines with a comment that holds the words.
func linesSaying(f file, words string) map[int]bool {
	lines := make(map[int]bool)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if strings.Contains(c.Text, words) {
				lines[f.lineOf(c.Pos())] = true
			}
		}
	}
	return lines
}

func TestEveryExceptionHasAReason(t *testing.T) {
	for what, why := range exceptions {
		if len(why) < len("codec of one switch") {
			t.Errorf("exception %s: %q is no reason", what, why)
		}
	}
}
