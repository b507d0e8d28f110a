package iam

import (
	"strings"
	"testing"
)

const cniPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Addresses", "Effect": "Allow",
     "Action": ["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:Describe*"], "Resource": "*"},
    {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": ["arn:aws:ec2:*:*:network-interface/*"]}
  ]}`

const scopedPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "ec2:DeleteNetworkInterface", "Resource": "arn:aws:ec2:*:*:network-interface/*",
     "Condition": {"StringEquals": {"aws:ResourceTag/cluster.k8s.amazonaws.com/name": "demo"}}},
    {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*",
     "Condition": {"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"},
                   "ForAllValues:StringLike": {"aws:TagKeys": ["Name", "node.k8s.amazonaws.com/*"]}}},
    {"Effect": "Deny", "Action": "ec2:*", "Resource": "*", "Condition": {"Null": {"aws:RequestTag/owner": false}}},
    {"Effect": "Allow", "NotAction": ["ec2:*", "iam:*"], "NotResource": "arn:aws:s3:::secret"}
  ]}`

func TestEvaluate(t *testing.T) {
	eni := "arn:aws:ec2:us-west-2:111122223333:network-interface/eni-1"
	tests := []struct {
		name, policy, action, resource string
		context                        map[string][]string
		want                           Decision
	}{
		{"action", cniPolicy, "ec2:CreateNetworkInterface", eni, nil, Allowed},
		{"action's case does not matter", cniPolicy, "EC2:createnetworkinterface", eni, nil, Allowed},
		{"wildcard", cniPolicy, "ec2:DescribeSubnets", "*", nil, Allowed},
		{"absent", cniPolicy, "ec2:DeleteNetworkInterface", eni, nil, ImplicitDeny},
		{"resource", cniPolicy, "ec2:CreateTags", eni, nil, Allowed},
		{"other resource", cniPolicy, "ec2:CreateTags", "arn:aws:ec2:us-west-2:111122223333:subnet/subnet-1", nil, ImplicitDeny},
		{
			"tag", scopedPolicy, "ec2:DeleteNetworkInterface", eni,
			map[string][]string{"aws:resourcetag/cluster.k8s.amazonaws.com/name": {"demo"}},
			Allowed,
		},
		{
			"other tag value", scopedPolicy, "ec2:DeleteNetworkInterface", eni,
			map[string][]string{"aws:resourcetag/cluster.k8s.amazonaws.com/name": {"other"}},
			ImplicitDeny,
		},
		{"no tag", scopedPolicy, "ec2:DeleteNetworkInterface", eni, nil, ImplicitDeny},
		{
			"all values", scopedPolicy, "ec2:CreateTags", eni,
			map[string][]string{
				"ec2:createaction": {"CreateNetworkInterface"},
				"aws:tagkeys":      {"Name", "node.k8s.amazonaws.com/instance_id"},
			},
			Allowed,
		},
		{
			"one value too many", scopedPolicy, "ec2:CreateTags", eni,
			map[string][]string{"ec2:createaction": {"CreateNetworkInterface"}, "aws:tagkeys": {"Name", "x"}},
			ImplicitDeny,
		},
		{
			"denied", scopedPolicy, "ec2:CreateTags", eni,
			map[string][]string{"ec2:createaction": {"CreateNetworkInterface"}, "aws:requesttag/owner": {"me"}},
			ExplicitDeny,
		},
		{"not action", scopedPolicy, "s3:GetObject", "arn:aws:s3:::public", nil, Allowed},
		{"not resource", scopedPolicy, "s3:GetObject", "arn:aws:s3:::secret", nil, ImplicitDeny},
		{"excluded action", scopedPolicy, "iam:PassRole", "*", nil, ImplicitDeny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse(tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			got := Evaluate([]*Policy{p}, Request{Action: tt.action, Resource: tt.resource, Context: tt.context})
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	tests := []struct {
		name, condition string
		have            []string // of key k; nil means that it is absent
		want            bool
	}{
		{"equal", `{"StringEquals":{"k":["a","b"]}}`, []string{"b"}, true},
		{"equal, absent", `{"StringEquals":{"k":"a"}}`, nil, false},
		{"equal if exists, absent", `{"StringEqualsIfExists":{"k":"a"}}`, nil, true},
		{"equal if exists, other", `{"StringEqualsIfExists":{"k":"a"}}`, []string{"b"}, false},
		{"not equal", `{"StringNotEquals":{"k":"a"}}`, []string{"b"}, true},
		{"not equal, absent", `{"StringNotEquals":{"k":"a"}}`, nil, true},
		{"not equal, one of two", `{"StringNotEquals":{"k":["a","b"]}}`, []string{"b"}, false},
		{"like", `{"StringLike":{"k":"a*"}}`, []string{"abc"}, true},
		{"like takes a backslash as it is", `{"StringLike":{"k":"a\\*"}}`, []string{`a\c`}, true},
		{"not like", `{"StringNotLike":{"k":"a*"}}`, []string{"abc"}, false},
		{"null", `{"Null":{"k":"true"}}`, nil, true},
		{"null, present", `{"Null":{"k":true}}`, []string{"x"}, false},
		{"all, absent", `{"ForAllValues:StringEquals":{"k":"a"}}`, nil, true},
		{"any", `{"ForAnyValue:StringEquals":{"k":"a"}}`, []string{"b", "a"}, true},
		{"any, absent", `{"ForAnyValue:StringEquals":{"k":"a"}}`, nil, false},
		{"bool", `{"Bool":{"k":"false"}}`, []string{"false"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + tt.condition + `}}`)
			if err != nil {
				t.Fatal(err)
			}
			r := Request{Action: "ec2:X", Resource: "*"}
			if tt.have != nil {
				r.Context = map[string][]string{"k": tt.have}
			}
			if got := Evaluate([]*Policy{p}, r) == Allowed; got != tt.want {
				t.Errorf("holds: %t", got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	tests := []struct{ name, document, want string }{
		{"no JSON", "allow everything", "invalid character"},
		{"unknown member", statement(`{"Effect":"Allow","Actions":"*","Resource":"*"}`), "unknown field"},
		{"text after the end", `{"Statement":[]} {}`, "after the end"},
		{"effect", statement(`{"Effect":"allow","Action":"*","Resource":"*"}`), "effect"},
		{"no action", statement(`{"Effect":"Allow","Resource":"*"}`), "Action"},
		{"no resource", statement(`{"Effect":"Allow","Action":"*"}`), "Resource"},
		{"principal", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}`), "Principal"},
		{"operator", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateEquals":{"k":"v"}}}`), "DateEquals"},
		{"null", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"k":"x"}}}`), "Null"},
		{"version", `{"Version":"2030-01-01","Statement":[]}`, "version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.document); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(cniPolicy)
	f.Add(scopedPolicy)
	f.Add(`{"Statement":{"Effect":"Deny","Action":["*"],"Resource":"*","Condition":{"Null":{"k":"true"}}}}`)
	f.Fuzz(func(t *testing.T, document string) {
		p, err := Parse(document)
		if err != nil {
			return
		}
		Evaluate([]*Policy{p}, Request{Action: "ec2:CreateTags", Resource: "*", Context: map[string][]string{"k": {"v"}}})
	})
}
