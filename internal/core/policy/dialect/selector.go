package dialect

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// selector reads a label selector. When something in it cannot be read it is not whole, and the selector has the other requirements
// only: it selects what is meant and more.
func (n node) selector() (s *policy.Selector, whole bool) {
	o, whole := n.object("matchLabels", "matchExpressions")
	var requirements []policy.Requirement
	add := func(r policy.Requirement, ok bool) {
		if whole = whole && ok; ok {
			requirements = append(requirements, r)
		}
	}
	if labels := o.get("matchLabels"); !labels.absent() {
		fields := object{node: labels}
		if err := json.Unmarshal(labels.raw, &fields.fields); err != nil {
			labels.not("object")
			whole = false
		}
		for _, key := range slices.Sorted(maps.Keys(fields.fields)) {
			value := fields.get(key)
			text, ok := value.text()
			add(policy.Requirement{Key: key, Operator: policy.In, Values: []string{text}}, ok && value.key(key) && value.values(text))
		}
	}
	expressions, ok := o.get("matchExpressions").items()
	whole = whole && ok
	for _, e := range expressions {
		add(e.requirement())
	}
	return policy.NewSelector(requirements...), whole
}

// requirement reads an element of matchExpressions.
func (n node) requirement() (r policy.Requirement, ok bool) {
	o, whole := n.object("key", "operator", "values")
	if !whole {
		return r, false
	}
	key, ok := o.get("key").text()
	operator, known := o.get("operator").oneOf(string(policy.In), string(policy.NotIn), string(policy.Exists), string(policy.DoesNotExist))
	if !ok || !known || !o.get("key").key(key) {
		return r, false
	}
	r = policy.Requirement{Key: key, Operator: policy.Operator(operator)}
	values, ok := o.get("values").items()
	if !ok {
		return r, false
	}
	for _, v := range values {
		text, ok := v.text()
		if !ok || !v.values(text) {
			return r, false
		}
		r.Values = append(r.Values, text)
	}
	if set := r.Operator == policy.In || r.Operator == policy.NotIn; set != (len(r.Values) > 0) {
		o.get("values").wrong("In and NotIn need values, Exists and DoesNotExist take none: %s has %d", operator, len(r.Values))
		return r, false
	}
	return r, true
}

// key tells whether a label can have a key: a name of at most 63 characters, before it perhaps a domain and a slash.
func (n node) key(key string) bool {
	domain, name, found := strings.Cut(key, "/")
	if !found {
		domain, name = "", key
	}
	if name == "" || !isLabelText(name) || found && !isDomain(domain) {
		n.wrong("no label can have the key %q", key)
		return false
	}
	return true
}

// values tells whether a label can have a value.
func (n node) values(value string) bool {
	if value != "" && !isLabelText(value) {
		n.wrong("no label can have the value %q", value)
		return false
	}
	return true
}

// isLabelText is what names of keys and values are made of.
func isLabelText(s string) bool {
	return len(s) <= 63 && made(s, "-_.") && alphanumeric(s[0]) && alphanumeric(s[len(s)-1])
}

// isDomain tells whether a text in lower case can be a domain's name. Underscores occur in those of services.
func isDomain(s string) bool {
	if len(s) > 253 || s != strings.ToLower(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !made(label, "-_") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// made tells whether a text is made of letters and digits of ASCII and some more.
func made(s, more string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && strings.IndexByte(more, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
