package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	serializePrefix   = "awsEc2query_serializeDocument"
	deserializePrefix = "awsEc2query_deserializeDocument"
)

// tables are the exceptions to the default names, keyed "Type.Field".
type tables struct {
	request, response, item map[string]string
	fields                  int // members seen, exceptions or not
}

// readTables walks the SDK's functions from the operations' inputs and outputs through everything that they call.
func readTables(sdk string, ops []string) (*tables, error) {
	t := &tables{request: map[string]string{}, response: map[string]string{}, item: map[string]string{}}
	ser, err := functions(filepath.Join(sdk, "serializers.go"))
	if err != nil {
		return nil, err
	}
	de, err := functions(filepath.Join(sdk, "deserializers.go"))
	if err != nil {
		return nil, err
	}
	w := walker{t: t, seen: map[string]bool{}, funcs: ser}
	for _, op := range ops {
		if err := w.serializer("awsEc2query_serializeOpDocument" + op + "Input"); err != nil {
			return nil, fmt.Errorf("read input of %s: %w", op, err)
		}
	}
	w.funcs = de
	for _, op := range ops {
		name := "awsEc2query_deserializeOpDocument" + op + "Output"
		if w.funcs[name] == nil { // an operation without result members
			if w.funcs["awsEc2query_deserializeOpError"+op] == nil {
				return nil, fmt.Errorf("read output of %s: the SDK has no such operation", op)
			}
			continue
		}
		if err := w.deserializer(name); err != nil {
			return nil, fmt.Errorf("read output of %s: %w", op, err)
		}
	}
	return t, nil
}

func functions(file string) (map[string]*ast.FuncDecl, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	m := make(map[string]*ast.FuncDecl)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			m[fn.Name.Name] = fn
		}
	}
	return m, nil
}

type walker struct {
	t     *tables
	seen  map[string]bool
	funcs map[string]*ast.FuncDecl
}

// serializer reads a function of the form
//
//	func …(v *T, value query.Value) error {
//		if v.Field != nil {
//			objectKey := object.FlatKey("WireName")
//			… awsEc2query_serializeDocumentX(v.Field, objectKey) …
func (w *walker) serializer(name string) error {
	if w.seen[name] {
		return nil
	}
	w.seen[name] = true
	fn := w.funcs[name]
	if fn == nil {
		return fmt.Errorf("the SDK has no function %s", name)
	}
	typ, isStruct := subject(fn)
	for _, stmt := range fn.Body.List {
		cond, ok := stmt.(*ast.IfStmt)
		if !isStruct || !ok {
			continue
		}
		field := firstSelector(cond.Cond, "v")
		method, wire := firstKey(cond.Body)
		if field == "" || wire == "" {
			return fmt.Errorf("%s: cannot read a member of %s", name, typ)
		}
		w.t.fields++
		if wire != field {
			w.t.request[typ+"."+field] = wire
		}
		for _, callee := range calls(cond.Body, serializePrefix) {
			if _, itemIsStruct := subject(w.funcs[callee]); !itemIsStruct && method != "FlatKey" {
				return fmt.Errorf("%s: list %s.%s is not flattened; the codec knows no such lists", name, typ, field)
			}
		}
	}
	for _, callee := range calls(fn.Body, serializePrefix) {
		if err := w.serializer(callee); err != nil {
			return err
		}
	}
	return nil
}

// deserializer reads a function of the form
//
//	func …(v **T, decoder smithyxml.NodeDecoder) error {
//		…	case strings.EqualFold("wireName", t.Name.Local):
//				… sv.Field = … or awsEc2query_deserializeDocumentX(&sv.Field, nodeDecoder) …
func (w *walker) deserializer(name string) error {
	if w.seen[name] {
		return nil
	}
	w.seen[name] = true
	fn := w.funcs[name]
	if fn == nil {
		return fmt.Errorf("the SDK has no function %s", name)
	}
	if typ, isStruct := subject(fn); isStruct {
		for _, c := range cases(fn) {
			field := firstSelector(c.body, "sv")
			if field == "" {
				return fmt.Errorf("%s: cannot read member %s of %s", name, c.wire, typ)
			}
			w.t.fields++
			if c.wire != lowerFirst(field) {
				w.t.response[typ+"."+field] = c.wire
			}
			if item := w.itemName(calls(c.body, deserializePrefix)); item != "item" {
				w.t.item[typ+"."+field] = item
			}
		}
	}
	for _, callee := range calls(fn.Body, deserializePrefix) {
		if err := w.deserializer(callee); err != nil {
			return err
		}
	}
	return nil
}

// itemName is the element name of the list that one of the functions reads; "item" when none is a list.
func (w *walker) itemName(callees []string) string {
	for _, callee := range callees {
		fn := w.funcs[callee]
		if fn == nil {
			continue
		}
		if _, isStruct := subject(fn); !isStruct {
			for _, c := range cases(fn) {
				return c.wire
			}
		}
	}
	return "item"
}

// subject returns the name of the structure that a (de)serializer handles; false for a list.
func subject(fn *ast.FuncDecl) (string, bool) {
	typ := fn.Type.Params.List[0].Type
	for {
		star, ok := typ.(*ast.StarExpr)
		if !ok {
			break
		}
		typ = star.X
	}
	switch t := typ.(type) {
	case *ast.Ident:
		return t.Name, true
	case *ast.SelectorExpr:
		return t.Sel.Name, true
	}
	return "", false
}

// firstSelector returns F of the first expression recv.F in n.
func firstSelector(n ast.Node, recv string) string {
	var found string
	ast.Inspect(n, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || found != "" {
			return found == ""
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == recv {
			found = sel.Sel.Name
		}
		return true
	})
	return found
}

// firstKey returns the method and argument of the first object.Key("…") or object.FlatKey("…").
func firstKey(n ast.Node) (method, wire string) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || wire != "" {
			return wire == ""
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || (sel.Sel.Name != "Key" && sel.Sel.Name != "FlatKey") {
			return true
		}
		method, wire = sel.Sel.Name, literal(call.Args)
		return false
	})
	return method, wire
}

type nameCase struct {
	wire string
	body ast.Node
}

// cases returns the arms "case strings.EqualFold(name, …)" of a deserializer's outer switch.
func cases(fn *ast.FuncDecl) []nameCase {
	var out []nameCase
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		c, ok := n.(*ast.CaseClause)
		if !ok || len(c.List) != 1 {
			return true
		}
		if call, ok := c.List[0].(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "EqualFold" {
				out = append(out, nameCase{wire: literal(call.Args), body: &ast.BlockStmt{List: c.Body}})
			}
		}
		return false
	})
	return out
}

// calls returns the functions with a prefix that n calls, each once, in order.
func calls(n ast.Node, prefix string) []string {
	var out []string
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if id, ok := call.Fun.(*ast.Ident); ok && strings.HasPrefix(id.Name, prefix) && !slices.Contains(out, id.Name) {
				out = append(out, id.Name)
			}
		}
		return true
	})
	return out
}

func literal(args []ast.Expr) string {
	if len(args) == 0 {
		return ""
	}
	lit, ok := args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

func lowerFirst(s string) string {
	r := []rune(s)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}

// render prints the tables as a Go file.
func render(t *tables, ops []string, version string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "// Code generated by namegen from %s %s; DO NOT EDIT.\n\npackage ec2query\n\n", sdkModule, version)
	fmt.Fprintf(&b, "// Of %d members, these are spelt otherwise than by the default rule.\n\n", t.fields)
	for _, m := range []struct {
		name, doc string
		rows      map[string]string
	}{
		{"requestNames", "requestNames has the members of requests whose name is not the field's.", t.request},
		{"responseNames", "responseNames has the members of responses whose name is not the field's with a small first letter.", t.response},
		{"itemNames", "itemNames has the lists of responses whose elements are not called item.", t.item},
	} {
		fmt.Fprintf(&b, "// %s\nvar %s = map[string]string{\n", m.doc, m.name)
		for _, k := range slices.Sorted(maps.Keys(m.rows)) {
			fmt.Fprintf(&b, "\t%q: %q,\n", k, m.rows[k])
		}
		b.WriteString("}\n\n")
	}
	b.WriteString("// tableOperations are the operations for which the tables are complete.\nvar tableOperations = map[string]bool{\n")
	for _, op := range ops {
		fmt.Fprintf(&b, "\t%q: true,\n", op)
	}
	b.WriteString("}\n")
	return format.Source([]byte(b.String()))
}
