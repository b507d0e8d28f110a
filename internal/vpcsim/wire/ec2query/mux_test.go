package ec2query_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

func TestServe(t *testing.T) {
	var m ec2query.Mux
	ec2query.Handle(&m, "CreateVpc", func(_ context.Context, in *ec2.CreateVpcInput) (*ec2.CreateVpcOutput, error) {
		switch aws.ToString(in.CidrBlock) {
		case "typed":
			return nil, fmt.Errorf("wrapped: %w", ec2query.Errorf("InvalidVpc.Range", "The CIDR '%s' is invalid.", "typed"))
		case "dry":
			return nil, ec2query.DryRun()
		}
		return nil, errors.New("boom")
	})
	tests := []struct{ name, form, want string }{
		{"no action", "", `400 MissingAction`},
		{"unknown action", "Action=Fly", `400 InvalidAction`},
		{"handler's error through a wrapper", "Action=CreateVpc&CidrBlock=typed", `400 InvalidVpc.Range`},
		{"dry run", "Action=CreateVpc&CidrBlock=dry", `412 DryRunOperation`},
		{"any other error is the server's", "Action=CreateVpc&CidrBlock=x", `500 InternalError`},
		{"decode error", "Action=CreateVpc&Cidr=x", `400 UnknownParameter`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			body, status, err := m.Serve(t.Context(), form, "req-9")
			if err == nil {
				t.Error("no error for the log")
			}
			l := &loopback{answer: body, status: status}
			_, err = client(l).CreateVpc(t.Context(), &ec2.CreateVpcInput{})
			api, ok := errors.AsType[smithy.APIError](err)
			if !ok {
				t.Fatalf("the SDK read %v from %s", err, body)
			}
			if got := fmt.Sprintf("%d %s", status, api.ErrorCode()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestHandleRefusesUnlistedOperation(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an operation without names was registered")
		}
	}()
	var m ec2query.Mux
	ec2query.Handle(&m, "CreateFleet", func(context.Context, *ec2.CreateFleetInput) (*ec2.CreateFleetOutput, error) { return nil, nil })
}

// twelve are ids in no order.
func twelve() []string {
	var s []string
	for i := range 12 {
		s = append(s, fmt.Sprintf("id-%02d", (i*7)%12))
	}
	return s
}

// page cuts ids; it returns the code of the error, if any.
func page(items []string, p ec2query.PageRequest) ([]string, *string, string) {
	got, next, err := ec2query.Page(items, func(s string) string { return s }, p)
	if e, ok := errors.AsType[*ec2query.Error](err); ok {
		return nil, nil, e.Code
	}
	return got, next, ""
}

func TestPage(t *testing.T) {
	t.Run("walk sees each item once in order", func(t *testing.T) {
		var seen []string
		var token *string
		for range 4 {
			got, next, code := page(twelve(), ec2query.PageRequest{MaxResults: aws.Int32(5), NextToken: token, Query: "q"})
			if code != "" {
				t.Fatal(code)
			}
			seen = append(seen, got...)
			if token = next; token == nil {
				break
			}
		}
		want, _, _ := page(twelve(), ec2query.PageRequest{})
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("items removed between pages shift nothing", func(t *testing.T) {
		_, token, _ := page(twelve(), ec2query.PageRequest{MaxResults: aws.Int32(5), Query: "q"})
		rest := []string{"id-03", "id-05", "id-06", "id-07", "id-11"} // most of the first page is gone
		got, next, _ := page(rest, ec2query.PageRequest{MaxResults: aws.Int32(5), NextToken: token, Query: "q"})
		if diff := cmp.Diff([]string{"id-05", "id-06", "id-07", "id-11"}, got); diff != "" || next != nil {
			t.Error(diff, next)
		}
	})
}

func TestPageRefuses(t *testing.T) {
	_, token, _ := page(twelve(), ec2query.PageRequest{MaxResults: aws.Int32(5), Query: "q"})
	bad := []struct {
		name string
		p    ec2query.PageRequest
		want string
	}{
		{"too few", ec2query.PageRequest{MaxResults: aws.Int32(4)}, "InvalidParameterValue"},
		{"too many", ec2query.PageRequest{MaxResults: aws.Int32(1001)}, "InvalidParameterValue"},
		{"own upper bound", ec2query.PageRequest{MaxResults: aws.Int32(101), Most: 100}, "InvalidParameterValue"},
		{"with ids", ec2query.PageRequest{MaxResults: aws.Int32(5), HasIDs: true}, "InvalidParameterCombination"},
		{"garbage token", ec2query.PageRequest{NextToken: aws.String("!")}, "InvalidPaginationToken"},
		{"token of another query", ec2query.PageRequest{NextToken: token, Query: "p"}, "InvalidPaginationToken"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, code := page(twelve(), tt.p); code != tt.want {
				t.Errorf("got %q, want %q", code, tt.want)
			}
		})
	}
}
