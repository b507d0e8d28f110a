package iam

import (
	"fmt"
	"slices"
	"strings"
)

// condition is one key of one operator. With a set operator it is about every (or any) value of the request.
type condition struct {
	key      string // in lower case
	want     []string
	test     func(want, have string) bool
	negated  bool // the values must match none of want
	ifExists bool
	forAll   bool
	forAny   bool
	null     bool // the key's absence itself is tested
}

var operators = map[string]condition{
	"StringEquals":              {test: equal},
	"StringNotEquals":           {test: equal, negated: true},
	"StringEqualsIgnoreCase":    {test: strings.EqualFold},
	"StringNotEqualsIgnoreCase": {test: strings.EqualFold, negated: true},
	"StringLike":                {test: match},
	"StringNotLike":             {test: match, negated: true},
	"ArnEquals":                 {test: match},
	"ArnNotEquals":              {test: match, negated: true},
	"ArnLike":                   {test: match},
	"ArnNotLike":                {test: match, negated: true},
	"Bool":                      {test: strings.EqualFold},
	"Null":                      {null: true},
}

func equal(want, have string) bool { return want == have }

func newCondition(operator, key string, want []string) (condition, error) {
	name, forAll := strings.CutPrefix(operator, "ForAllValues:")
	name, forAny := strings.CutPrefix(name, "ForAnyValue:")
	name, ifExists := strings.CutSuffix(name, "IfExists")
	c, ok := operators[name]
	if !ok || c.null && (forAll || forAny || ifExists) || forAll && forAny {
		return c, fmt.Errorf("unknown condition operator %q", operator)
	}
	if c.null && (len(want) != 1 || want[0] != "true" && want[0] != "false") {
		return c, fmt.Errorf("condition Null of %s wants true or false", key)
	}
	c.key, c.want = strings.ToLower(key), want
	c.forAll, c.forAny, c.ifExists = forAll, forAny, ifExists
	return c, nil
}

func (c condition) holds(context map[string][]string) bool {
	have, present := context[c.key]
	if c.null {
		return (c.want[0] == "true") == !present
	}
	switch {
	case !present || len(have) == 0:
		// An absent key satisfies ForAllValues, negated operators and …IfExists.
		return c.forAll || c.ifExists || c.negated && !c.forAny
	case c.forAll:
		return !slices.ContainsFunc(have, func(h string) bool { return !c.one(h) })
	case c.forAny, !c.negated:
		return slices.ContainsFunc(have, c.one)
	}
	return !slices.ContainsFunc(have, func(h string) bool { return !c.one(h) })
}

func (c condition) one(have string) bool {
	matched := slices.ContainsFunc(c.want, func(w string) bool { return c.test(w, have) })
	return matched != c.negated
}
