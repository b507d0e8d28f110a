package ec2

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "eksctl/SubnetPrivateUSWEST2A", true},
		{"eksctl-x-cluster/SubnetPrivate*", "eksctl-x-cluster/SubnetPrivateUSWEST2A", true},
		{"eksctl-x-cluster/SubnetPrivate*", "eksctl-x-cluster/SubnetPublicUSWEST2A", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?c", "aéc", true},
		{"ABC", "abc", false},
		{`a\*c`, "a*c", true},
		{`a\*c`, "abc", false},
		{`a\?c`, "a?c", true},
		{`a\\c`, `a\c`, true},
		{`a\`, `a\`, true},
		{"*b*b*", "abab", true},
		{"*a*b", "xaxbxa", false},
		{"**", "anything", true},
		{"a*", "a", true},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("Match(%q, %q) = %t", tt.pattern, tt.s, got)
		}
	}
}

// patternRegexp is the naive form of Match.
func patternRegexp(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rs := []rune(pattern); len(rs) > 0; rs = rs[1:] {
		switch {
		case rs[0] == '*':
			b.WriteString(".*")
		case rs[0] == '?':
			b.WriteString(".")
		case rs[0] == '\\' && len(rs) > 1:
			b.WriteString(regexp.QuoteMeta(string(rs[1])))
			rs = rs[1:]
		default:
			b.WriteString(regexp.QuoteMeta(string(rs[0])))
		}
	}
	return regexp.MustCompile(b.String() + `\z`)
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add(`\*`, "*")
	f.Add("*é*", "éé")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 1000 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			_ = Match(pattern, s) // must not crash
			return
		}
		if got, want := Match(pattern, s), patternRegexp(pattern).MatchString(s); got != want {
			t.Errorf("Match(%q, %q) = %t, want %t", pattern, s, got, want)
		}
	})
}

func TestSelect(t *testing.T) {
	items := []Subnet{
		{SubnetId: "subnet-1", VpcId: "vpc-1", Tags: []Tag{{"Name", "a/Private1"}, {"role", ""}}},
		{SubnetId: "subnet-2", VpcId: "vpc-1", Tags: []Tag{{"Name", "a/Public1"}}},
		{SubnetId: "subnet-3", VpcId: "vpc-2"},
	}
	fields := Fields[Subnet]{"vpc-id": func(s *Subnet) []string { return []string{s.VpcId} }}
	tags := func(s *Subnet) []Tag { return s.Tags }
	tests := []struct {
		name    string
		filters []Filter
		want    string
		code    string
	}{
		{name: "none", want: "subnet-1 subnet-2 subnet-3"},
		{name: "field", filters: []Filter{{"vpc-id", []string{"vpc-1"}}}, want: "subnet-1 subnet-2"},
		{name: "values are alternatives", filters: []Filter{{"vpc-id", []string{"vpc-2", "vpc-1"}}}, want: "subnet-1 subnet-2 subnet-3"},
		{
			name:    "names are combined",
			filters: []Filter{{"vpc-id", []string{"vpc-*"}}, {"tag:Name", []string{"a/Private*"}}}, want: "subnet-1",
		},
		{name: "tag with an empty value", filters: []Filter{{"tag:role", []string{""}}}, want: "subnet-1"},
		{name: "tag key", filters: []Filter{{"tag-key", []string{"rol?"}}}, want: "subnet-1"},
		{name: "no value", filters: []Filter{{"vpc-id", nil}}, want: ""},
		{name: "unknown", filters: []Filter{{"vpc", []string{"vpc-1"}}}, code: "InvalidParameterValue"},
		{name: "too many", filters: []Filter{{"vpc-id", make([]string, 201)}}, code: "FilterLimitExceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Select(items, tt.filters, fields, tags)
			code := ""
			if e, ok := errors.AsType[*Error](err); ok {
				code = e.Code
			}
			var ids []string
			for _, s := range got {
				ids = append(ids, s.SubnetId)
			}
			if code != tt.code || strings.Join(ids, " ") != tt.want {
				t.Errorf("got %v %q, want %q %q", ids, code, tt.want, tt.code)
			}
		})
	}
}
