package ec2query

import (
	"reflect"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

var timeType = reflect.TypeFor[time.Time]()

// plan says how the fields of one structure are spelt, in requests and in responses.
type plan struct {
	byRequestName map[string]int
	response      []responseField
}

type responseField struct {
	index      int
	name, item string
}

// plans caches a plan per type: it is a pure function of the type.
var plans sync.Map

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{byRequestName: make(map[string]int, t.NumField())}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		key := t.Name() + "." + f.Name
		request, ok := requestNames[key]
		if !ok {
			request = f.Name
		}
		p.byRequestName[request] = i
		r := responseField{index: i, name: responseNames[key], item: itemNames[key]}
		if r.name == "" {
			r.name = lowerFirst(f.Name)
		}
		if r.item == "" {
			r.item = "item"
		}
		p.response = append(p.response, r)
	}
	actual, _ := plans.LoadOrStore(t, p)
	return actual.(*plan)
}

func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[size:]
}
