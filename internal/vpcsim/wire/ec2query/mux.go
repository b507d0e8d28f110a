package ec2query

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Mux maps the names of operations to handlers. The zero value serves nothing; register everything before the first request.
type Mux struct {
	operations map[string]operation
}

type operation func(ctx context.Context, form url.Values) (any, error)

// Handle registers the handler of an operation. In and Out are the SDK's Input and Output of that operation.
// It panics on an operation for which the name table is not complete: that is a mistake of the build, not of a client.
func Handle[In, Out any](m *Mux, name string, fn func(context.Context, *In) (*Out, error)) {
	if !tableOperations[name] {
		panic(fmt.Sprintf("ec2query: operation %s is not in operations.txt", name))
	}
	if in := reflect.TypeFor[In]().Name(); in != name+"Input" {
		panic(fmt.Sprintf("ec2query: operation %s handled with %s", name, in))
	}
	if m.operations == nil {
		m.operations = make(map[string]operation)
	}
	m.operations[name] = func(ctx context.Context, form url.Values) (any, error) {
		in := new(In)
		if err := Decode(form, in); err != nil {
			return nil, err
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// Has tells whether an operation is registered.
func (m *Mux) Has(name string) bool {
	_, ok := m.operations[name]
	return ok
}

// Operations returns the names of the registered operations, sorted.
func (m *Mux) Operations() []string {
	names := make([]string, 0, len(m.operations))
	for name := range m.operations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TableOperations returns the names of the operations for which the name table is complete, sorted.
func TableOperations() []string {
	names := make([]string, 0, len(tableOperations))
	for name := range tableOperations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Serve runs the operation that a form names and returns the body and status to answer with. The error is the handler's own, for
// the log; the body says it already.
func (m *Mux) Serve(ctx context.Context, form url.Values, requestID string) (body []byte, status int, err error) {
	action := form.Get("Action")
	if action == "" {
		return failure(&Error{
			Code:    "MissingAction",
			Message: "The request is missing an action or a required parameter.",
		}, requestID)
	}
	op, ok := m.operations[action]
	if !ok {
		return failure(Errorf("InvalidAction", "The action %s is not valid for this web service.", clip(action)), requestID)
	}
	out, err := op(ctx, form)
	if err != nil {
		return failure(err, requestID)
	}
	return Encode(action, requestID, out), 200, nil
}

func failure(err error, requestID string) ([]byte, int, error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Status: 500, Code: "InternalError", Message: "An internal error has occurred: " + err.Error()}
	}
	return EncodeError(e, requestID), e.HTTPStatus(), err
}

func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
