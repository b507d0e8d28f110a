package ec2query

import (
	"encoding/base64"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits on requests, well above what a client sends and low enough that a hostile form costs nothing.
const (
	maxParameters = 20000
	maxDepth      = 16
	maxListIndex  = 1 << 20
)

// protocolParameters belong to the protocol or to older signatures, not to the operation.
var protocolParameters = map[string]bool{
	"Action": true, "Version": true, "AWSAccessKeyId": true, "Signature": true, "SignatureMethod": true,
	"SignatureVersion": true, "Timestamp": true, "Expires": true, "SecurityToken": true,
}

// node is one parameter of the form: Filter.1.Value.2=x is a chain of four. A list's elements are children whose names
// are numbers.
type node struct {
	path     string
	value    string
	hasValue bool
	children map[string]*node
}

// Decode fills an Input, a pointer to a structure of the SDK, from a form. Every error is an *Error: an unknown
// parameter, a value of the wrong type, or a list that is none.
func Decode(form url.Values, in any) error {
	root, err := parseTree(form)
	if err != nil {
		return err
	}
	return decodeStruct(root, reflect.ValueOf(in).Elem())
}

func parseTree(form url.Values) (*node, error) {
	if len(form) > maxParameters {
		return nil, Errorf("InvalidParameterValue", "The request has too many parameters")
	}
	root := &node{}
	for key, values := range form {
		if protocolParameters[key] || strings.HasPrefix(key, "X-Amz-") {
			continue
		}
		n := root
		parts := strings.Split(key, ".")
		if len(parts) > maxDepth {
			return nil, unknownParameter(key)
		}
		for i, part := range parts {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			child := n.children[part]
			if child == nil {
				child = &node{path: strings.Join(parts[:i+1], ".")}
				n.children[part] = child
			}
			n = child
		}
		n.hasValue = true
		if len(values) > 0 {
			n.value = values[0]
		}
	}
	return root, nil
}

func decodeStruct(n *node, v reflect.Value) error {
	if n.hasValue && n.value != "" {
		return badValue(n.path, n.value, "A structure is expected.")
	}
	plan := planOf(v.Type())
	for _, name := range n.names() {
		child := n.children[name]
		field, ok := plan.byRequestName[name]
		if !ok {
			return unknownParameter(child.path)
		}
		if err := decodeValue(child, v.Field(field)); err != nil {
			return err
		}
	}
	return nil
}

// names are the children's names in a fixed order, so that the same bad request always gets the same error.
func (n *node) names() []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func decodeValue(n *node, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return decodeValue(n, v.Elem())
	case reflect.Struct:
		if v.Type() == timeType {
			return decodeTime(n, v)
		}
		return decodeStruct(n, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return decodeBlob(n, v)
		}
		return decodeList(n, v)
	default:
		return decodeScalar(n, v)
	}
}

// decodeList reads elements numbered from 1. Gaps are accepted: the order counts, not the numbers.
func decodeList(n *node, v reflect.Value) error {
	if n.hasValue && n.value != "" {
		return badValue(n.path, n.value, "A list is expected.")
	}
	type element struct {
		index int
		node  *node
	}
	elements := make([]element, 0, len(n.children))
	for name, child := range n.children {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i > maxListIndex || strconv.Itoa(i) != name {
			return unknownParameter(child.path)
		}
		elements = append(elements, element{i, child})
	}
	slices.SortFunc(elements, func(a, b element) int { return a.index - b.index })
	list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	for i, e := range elements {
		if err := decodeValue(e.node, list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func decodeScalar(n *node, v reflect.Value) error {
	for _, name := range n.names() { // something hangs below a plain value
		return unknownParameter(n.children[name].path)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.value)
	case reflect.Bool:
		switch strings.ToLower(n.value) {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return badValue(n.path, n.value, "A boolean is expected.")
		}
	case reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.value, 10, v.Type().Bits())
		if err != nil {
			return badValue(n.path, n.value, "An integer is expected.")
		}
		v.SetInt(i)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(n.value, v.Type().Bits())
		if err != nil {
			return badValue(n.path, n.value, "A number is expected.")
		}
		v.SetFloat(f)
	default: // the SDK's inputs hold nothing else
		return unknownParameter(n.path)
	}
	return nil
}

func decodeTime(n *node, v reflect.Value) error {
	t, err := time.Parse(time.RFC3339Nano, n.value)
	if err != nil {
		return badValue(n.path, n.value, "A time such as 2006-01-02T15:04:05Z is expected.")
	}
	v.Set(reflect.ValueOf(t))
	return nil
}

func decodeBlob(n *node, v reflect.Value) error {
	b, err := base64.StdEncoding.DecodeString(n.value)
	if err != nil {
		return badValue(n.path, n.value, "Base64 is expected.")
	}
	v.SetBytes(b)
	return nil
}
