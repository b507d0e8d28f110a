package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// source is the file of types.
type source struct {
	types map[string]*ast.StructType
	docs  map[string]doc
}

// doc is a comment: text for people, and markers.
type doc struct {
	text    string
	markers []marker
}

// marker is a line such as +kubebuilder:validation:Minimum=0.
type marker struct {
	name, value string
}

// field is a field of a struct as JSON has it.
type field struct {
	name     string
	required bool
	typ      ast.Expr
	doc      doc
}

func parse(path string) (source, error) {
	s := source{types: map[string]*ast.StructType{}, docs: map[string]doc{}}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return s, fmt.Errorf("parse types: %w", err)
	}
	for _, d := range f.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if body, ok := t.Type.(*ast.StructType); ok {
				s.types[t.Name.Name], s.docs[t.Name.Name] = body, parseDoc(gen.Doc, "", "")
			}
		}
	}
	return s, nil
}

// parseDoc reads a comment. It speaks of the Go name, its readers know the JSON name.
func parseDoc(c *ast.CommentGroup, goName, jsonName string) doc {
	var d doc
	var words []string
	if c == nil {
		return d
	}
	for _, line := range c.List {
		text := strings.TrimSpace(strings.TrimPrefix(line.Text, "//"))
		if rest, ok := strings.CutPrefix(text, "+"); ok {
			name, value := split(rest)
			d.markers = append(d.markers, marker{name, value})
		} else if text != "" {
			words = append(words, text)
		}
	}
	d.text = strings.Join(words, " ")
	if rest, ok := strings.CutPrefix(d.text, goName+" "); ok && goName != "" {
		d.text = jsonName + " " + rest
	}
	return d
}

// split takes a marker apart. One with named arguments has a colon before them: printcolumn:name="x",type=y.
func split(text string) (name, value string) {
	name, value, _ = strings.Cut(text, "=")
	if i := strings.LastIndex(name, ":"); i >= 0 && strings.Count(name, ":") >= 2 && !strings.HasPrefix(name, "kubebuilder:validation:") || strings.Contains(name, "XValidation:") {
		return name[:i], name[i+1:] + "=" + value
	}
	return name, value
}

var argument = regexp.MustCompile("(\\w+)=(\"[^\"]*\"|`[^`]*`|[^,]*)")

// arguments are the named arguments of a marker.
func (m marker) arguments() map[string]string {
	args := map[string]string{}
	for _, a := range argument.FindAllStringSubmatch(m.value, -1) {
		args[a[1]] = strings.Trim(a[2], "\"`")
	}
	return args
}

// fields lists the fields of a struct; embedded ones are those of Kubernetes and left out.
func (s source) fields(typ *ast.StructType) ([]field, error) {
	var all []field
	for _, f := range typ.Fields.List {
		if len(f.Names) != 1 || f.Tag == nil {
			continue
		}
		text, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return nil, fmt.Errorf("read tag of %s: %w", f.Names[0].Name, err)
		}
		name, options, _ := strings.Cut(reflect.StructTag(text).Get("json"), ",")
		all = append(all, field{
			name: name, required: !strings.Contains(options, "omitempty"), typ: f.Type, doc: parseDoc(f.Doc, f.Names[0].Name, name),
		})
	}
	return all, nil
}
