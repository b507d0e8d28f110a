package dialect

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is something in a resource that cannot be enforced as it is written.
type Problem struct {
	Field string // where it is: spec.ingress[0].from[1].ipBlock.cidr
	Why   string
	Done  string // how the policy is enforced meanwhile
}

// String is all of it in one line, for a condition or an event.
func (p Problem) String() string { return p.Field + ": " + p.Why + "; " + p.Done }

// reader collects what is wrong in a resource.
type reader struct {
	problems []Problem
	done     string // with what is being read, when it is wrong
}

// node is a value in a resource.
type node struct {
	*reader
	path string
	raw  json.RawMessage
}

// wrong records a problem.
func (n node) wrong(format string, args ...any) {
	n.problems = append(n.problems, Problem{Field: n.path, Why: fmt.Sprintf(format, args...), Done: n.done})
}

// not says that a node is no value of a kind.
func (n node) not(kind string) {
	if n.absent() {
		n.wrong("this is missing")
		return
	}
	n.wrong("this is no %s", kind)
}

// absent tells whether a field is not there; null says the same.
func (n node) absent() bool { return len(n.raw) == 0 || string(n.raw) == "null" }

// object is a node's fields by name.
type object struct {
	node
	fields map[string]json.RawMessage
}

// get is a field, absent when it is not there.
func (o object) get(name string) node {
	return node{reader: o.reader, path: strings.TrimPrefix(o.path+"."+name, "."), raw: o.fields[name]}
}

// has tells whether a field is there.
func (o object) has(name string) bool { return !o.get(name).absent() }

// object reads an object that has no other fields than those known. It is not whole when it is something else or has others: they may
// restrict what the known ones say.
func (n node) object(known ...string) (o object, whole bool) {
	o.node = n
	if err := json.Unmarshal(n.raw, &o.fields); err != nil || n.absent() {
		n.not("object")
		return o, false
	}
	whole = true
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if !slices.Contains(known, name) && o.has(name) {
			o.get(name).wrong("this field is not known here: known are %s", strings.Join(known, ", "))
			whole = false
		}
	}
	return o, whole
}

// only reads an object that has exactly one of the known fields, and nothing else.
func (n node) only(known ...string) (name string, value node, ok bool) {
	o, whole := n.object(known...)
	if !whole {
		return "", n, false
	}
	var there []string
	for _, name := range known {
		if o.has(name) {
			there = append(there, name)
		}
	}
	if len(there) != 1 {
		n.wrong("exactly one of %s is needed, there are %d", strings.Join(known, ", "), len(there))
		return "", n, false
	}
	return there[0], o.get(there[0]), true
}

// items reads a list; one that is absent is empty.
func (n node) items() (items []node, ok bool) {
	if n.absent() {
		return nil, true
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(n.raw, &raw); err != nil {
		n.not("list")
		return nil, false
	}
	for i, item := range raw {
		items = append(items, node{reader: n.reader, path: fmt.Sprintf("%s[%d]", n.path, i), raw: item})
	}
	return items, true
}

// text reads a string.
func (n node) text() (s string, ok bool) {
	if err := json.Unmarshal(n.raw, &s); err != nil || n.absent() {
		n.not("string")
		return "", false
	}
	return s, true
}

// oneOf reads a string that is one of a few.
func (n node) oneOf(values ...string) (s string, ok bool) {
	if s, ok = n.text(); ok && !slices.Contains(values, s) {
		n.wrong("%q is none of %s", s, strings.Join(values, ", "))
		return "", false
	}
	return s, ok
}

// number reads an integer within bounds, both included.
func (n node) number(least, most int64) (i int64, ok bool) {
	if err := json.Unmarshal(n.raw, &i); err != nil || n.absent() {
		n.not("whole number")
		return 0, false
	}
	if i < least || i > most {
		n.wrong("%d is not between %d and %d", i, least, most)
		return 0, false
	}
	return i, true
}
