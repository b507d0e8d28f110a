package cluster

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// reading collects what is wrong and what is ignored while a file is read.
type reading struct {
	errors   []string
	warnings []string
}

func (r *reading) wrong(path, format string, args ...any) {
	r.errors = append(r.errors, path+": "+fmt.Sprintf(format, args...))
}

// object is a mapping of the file, its fields read one by one; those that nobody read are left for rest.
type object struct {
	*reading
	path   string
	fields map[string]any
	read   []string
}

// asObject makes an object of v; anything but a mapping is an error and reads as an empty one.
func (r *reading) asObject(path string, v any) *object {
	o := &object{reading: r, path: path}
	switch fields := v.(type) {
	case nil:
	case map[string]any:
		o.fields = fields
	default:
		r.wrong(path, "want a mapping, got %s", kind(v))
	}
	return o
}

func (o *object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o *object) value(key string) any {
	o.read = append(o.read, key)
	return o.fields[key]
}

func (o *object) object(key string) *object {
	return o.asObject(o.at(key), o.value(key))
}

func (o *object) text(key, otherwise string) string {
	switch v := o.value(key).(type) {
	case nil:
		return otherwise
	case string:
		return v
	default:
		o.wrong(o.at(key), "want text, got %s", kind(v))
		return otherwise
	}
}

func (o *object) number(key string, otherwise int) int {
	switch v := o.value(key).(type) {
	case nil:
		return otherwise
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e9 {
			return int(v)
		}
		o.wrong(o.at(key), "want a whole number, got %v", v)
	default:
		o.wrong(o.at(key), "want a whole number, got %s", kind(v))
	}
	return otherwise
}

func (o *object) truth(key string, otherwise bool) bool {
	switch v := o.value(key).(type) {
	case nil:
		return otherwise
	case bool:
		return v
	default:
		o.wrong(o.at(key), "want true or false, got %s", kind(v))
		return otherwise
	}
}

func (o *object) list(key string) []any {
	switch v := o.value(key).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		o.wrong(o.at(key), "want a list, got %s", kind(v))
		return nil
	}
}

func (o *object) texts(key string) []string {
	var out []string
	for i, v := range o.list(key) {
		s, ok := v.(string)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", o.at(key), i), "want text, got %s", kind(v))
			continue
		}
		out = append(out, s)
	}
	return out
}

func (o *object) textMap(key string) map[string]string {
	in := o.object(key)
	if len(in.fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(in.fields))
	for k := range in.fields {
		out[k] = in.text(k, "")
	}
	return out
}

// rest warns of the fields that nobody read.
func (o *object) rest() {
	var unread []string
	for key := range o.fields {
		if !slices.Contains(o.read, key) {
			unread = append(unread, o.at(key))
		}
	}
	slices.Sort(unread)
	for _, path := range unread {
		o.warnings = append(o.warnings, path+": the lab does not know this field and goes on without it")
	}
}

func kind(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %q", v)
	case bool:
		return fmt.Sprint(v)
	case float64:
		return "the number " + strings.TrimSuffix(fmt.Sprintf("%v", v), ".0")
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return "nothing"
	}
}
