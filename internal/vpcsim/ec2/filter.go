package ec2

import "strings"

// maxFilterValues is how many values one filter may have.
const maxFilterValues = 200

// Match tells whether s matches an EC2 pattern: '*' stands for any run of characters, '/' included, '?' for one, and
// '\' takes the next character literally. Case matters.
func Match(pattern, s string) bool {
	// The classic two-pointer match: on a mismatch, fall back to the last star and let it take one byte more.
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == '*':
				star, mark = p, i
				p++
				continue
			case c == '?':
				p++
				i += runeLen(s[i:])
				continue
			case c == '\\' && p+1 < len(pattern) && pattern[p+1] == s[i]:
				p, i = p+2, i+1
				continue
			case c == s[i] && (c != '\\' || p+1 == len(pattern)):
				p, i = p+1, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark += runeLen(s[mark:])
		p, i = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// runeLen is the length in bytes of the first character of s.
func runeLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// Fields tells, per filter name, the values of an object that the filter looks at.
type Fields[T any] map[string]func(*T) []string

// Select returns the objects that match all filters. Filters tag:KEY and tag-key look at tags; another name that is
// not among the fields is an error, as is a filter with too many values.
func Select[T any](items []T, filters []Filter, fields Fields[T], tags func(*T) []Tag) ([]T, error) {
	if len(filters) == 0 {
		return items, nil
	}
	for _, f := range filters {
		_, known := fields[f.Name]
		if !known && (tags == nil || !strings.HasPrefix(f.Name, "tag:") && f.Name != "tag-key") {
			return nil, Errorf("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
		}
		if len(f.Values) > maxFilterValues {
			return nil, Errorf("FilterLimitExceeded",
				"The maximum number of filter values specified on a single call is %d", maxFilterValues)
		}
	}
	out := make([]T, 0, len(items))
	for i := range items {
		if Matches(&items[i], filters, fields, tags) {
			out = append(out, items[i])
		}
	}
	return out, nil
}

// Matches tells whether an object matches all filters, which Select has accepted.
func Matches[T any](item *T, filters []Filter, fields Fields[T], tags func(*T) []Tag) bool {
	for _, f := range filters {
		var have []string
		if values, known := fields[f.Name]; known {
			have = values(item)
		} else {
			have = tagValues(tags(item), f.Name)
		}
		if !matchAny(f.Values, have) {
			return false
		}
	}
	return true
}

func matchAny(patterns, have []string) bool {
	for _, h := range have {
		for _, p := range patterns {
			if Match(p, h) {
				return true
			}
		}
	}
	return false
}

// tagValues returns what a tag filter looks at: the keys for "tag-key", the value of KEY for "tag:KEY".
func tagValues(tags []Tag, filter string) []string {
	key, byKey := strings.CutPrefix(filter, "tag:")
	var out []string
	for _, t := range tags {
		switch {
		case !byKey:
			out = append(out, t.Key)
		case t.Key == key:
			out = append(out, t.Value)
		}
	}
	return out
}
