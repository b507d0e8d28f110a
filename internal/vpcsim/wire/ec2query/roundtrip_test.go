package ec2query_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

// loopback answers the SDK's client in process: it keeps the form and returns a prepared answer.
type loopback struct {
	form   url.Values
	answer []byte
	status int
}

func (l *loopback) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if l.form, err = url.ParseQuery(string(body)); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: l.status, Body: io.NopCloser(bytes.NewReader(l.answer)), Header: http.Header{}, Request: r}, nil
}

func client(l *loopback) *ec2.Client {
	return ec2.New(ec2.Options{
		Region:     "us-west-2",
		HTTPClient: l,
		Retryer:    aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(_ context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
	})
}

// filler sets every member that it can reach, each to a value of its own, so that a swapped or dropped name shows.
type filler struct{ n int }

func (f *filler) fill(v reflect.Value, depth int) {
	f.n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(1_700_000_000+f.n), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if t := v.Type().Field(i); t.IsExported() && t.Name != "ResultMetadata" && depth < 12 {
				f.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(fmt.Appendf(nil, "blob-%d", f.n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0), depth)
		f.fill(v.Index(1), depth)
	case reflect.String:
		v.SetString(fmt.Sprintf("<v&%d> \"é\"", f.n))
	case reflect.Bool:
		v.SetBool(f.n%2 == 0)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.n) + 0.25)
	default: // the SDK has no other members
	}
}

func ignored() cmp.Option {
	return cmp.FilterPath(func(p cmp.Path) bool {
		s := p.Last().String()
		return s == ".ResultMetadata" || s == ".noSmithyDocumentSerde"
	}, cmp.Ignore())
}

// TestRoundTrip sends every member of every operation's Input through the SDK's serializer and our decoder, and every
// member of its Output through our encoder and the SDK's deserializer.
func TestRoundTrip(t *testing.T) {
	for _, op := range ec2query.TableOperations() {
		t.Run(op, func(t *testing.T) {
			l := &loopback{status: http.StatusOK}
			method := reflect.ValueOf(client(l)).MethodByName(op)
			inType, outType := method.Type().In(1).Elem(), method.Type().Out(0).Elem()
			f := &filler{}
			in, out := reflect.New(inType), reflect.New(outType)
			f.fill(in.Elem(), 0)
			f.fill(out.Elem(), 0)
			l.answer = ec2query.Encode(op, "req-1", out.Interface())

			results := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
			if err, _ := reflect.TypeAssert[error](results[1]); err != nil {
				t.Fatalf("call %s: %v", op, err)
			}
			gotIn := reflect.New(inType).Interface()
			if err := ec2query.Decode(l.form, gotIn); err != nil {
				t.Fatalf("decode what the SDK sent: %v", err)
			}
			if diff := cmp.Diff(in.Interface(), gotIn, ignored(), cmpopts.IgnoreUnexported()); diff != "" {
				t.Errorf("input (-sent +decoded):\n%s", diff)
			}
			if diff := cmp.Diff(out.Interface(), results[0].Interface(), ignored()); diff != "" {
				t.Errorf("output (-encoded +read by the SDK):\n%s", diff)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	const ns = ` xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>`
	tests := []struct {
		name, op string
		out      any
		want     string
	}{
		{
			"void operation", "DeleteTags", &ec2.DeleteTagsOutput{},
			"<DeleteTagsResponse" + ns + "<return>true</return></DeleteTagsResponse>",
		},
		{
			"empty list differs from no list", "DescribeSubnets",
			&ec2.DescribeSubnetsOutput{Subnets: []types.Subnet{
				{SubnetId: aws.String("s-1"), Tags: []types.Tag{}},
				{SubnetId: aws.String("s-2")},
			}},
			"<DescribeSubnetsResponse" + ns + "<subnetSet><item><subnetId>s-1</subnetId><tagSet></tagSet></item>" +
				"<item><subnetId>s-2</subnetId></item></subnetSet></DescribeSubnetsResponse>",
		},
		{
			"empty string is a value, text is escaped", "DescribeTags",
			&ec2.DescribeTagsOutput{Tags: []types.TagDescription{{
				Key: aws.String("a<b"), Value: aws.String(""), ResourceType: types.ResourceTypeSubnet,
			}}},
			"<DescribeTagsResponse" + ns + "<tagSet><item><key>a&lt;b</key><resourceType>subnet</resourceType><value></value>" +
				"</item></tagSet></DescribeTagsResponse>",
		},
		{
			"times have milliseconds and are UTC", "AttachNetworkInterface",
			&ec2.CreateNetworkInterfaceOutput{NetworkInterface: &types.NetworkInterface{Attachment: &types.NetworkInterfaceAttachment{
				AttachTime: aws.Time(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600))), DeviceIndex: aws.Int32(1),
			}}},
			"<AttachNetworkInterfaceResponse" + ns + "<networkInterface><attachment><attachTime>2026-01-02T02:04:05.006Z</attachTime>" +
				"<deviceIndex>1</deviceIndex></attachment></networkInterface></AttachNetworkInterfaceResponse>",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(head+tt.want, string(ec2query.Encode(tt.op, "r", tt.out))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, form string
		want       ec2.DescribeSubnetsInput
		wantErr    string
	}{
		{
			name: "filters with gaps keep their order",
			form: "Filter.2.Name=b&Filter.10.Name=c&Filter.1.Name=a&Filter.1.Value.3=z&Filter.1.Value.1=y",
			want: ec2.DescribeSubnetsInput{Filters: []types.Filter{
				{Name: aws.String("a"), Values: []string{"y", "z"}},
				{Name: aws.String("b")},
				{Name: aws.String("c")},
			}},
		},
		{
			name: "protocol and signature parameters are no members",
			form: "Action=X&Version=1&X-Amz-Date=2&AWSAccessKeyId=3&DryRun=TRUE&MaxResults=5",
			want: ec2.DescribeSubnetsInput{DryRun: aws.Bool(true), MaxResults: aws.Int32(5)},
		},
		{name: "unknown parameter", form: "Colour=red", wantErr: "UnknownParameter: The parameter Colour is not recognized"},
		{name: "member name instead of wire name", form: "SubnetIds.1=x", wantErr: "UnknownParameter: The parameter SubnetIds is not recognized"},
		{name: "unknown nested parameter", form: "Filter.1.Nome=x", wantErr: "UnknownParameter: The parameter Filter.1.Nome is not recognized"},
		{name: "children below a string", form: "NextToken.1=x", wantErr: "UnknownParameter: The parameter NextToken.1 is not recognized"},
		{name: "list index is no number", form: "SubnetId.x=1", wantErr: "UnknownParameter: The parameter SubnetId.x is not recognized"},
		{name: "list index with zeros", form: "SubnetId.01=1", wantErr: "UnknownParameter: The parameter SubnetId.01 is not recognized"},
		{name: "huge index", form: "SubnetId.99999999999=1", wantErr: "UnknownParameter: The parameter SubnetId.99999999999 is not recognized"},
		{name: "text where a number belongs", form: "MaxResults=many", wantErr: "InvalidParameterValue: Value (many) for parameter MaxResults is invalid. An integer is expected."},
		{name: "number out of range", form: "MaxResults=99999999999", wantErr: "InvalidParameterValue: Value (99999999999) for parameter MaxResults is invalid. An integer is expected."},
		{name: "text where a list belongs", form: "SubnetId=s", wantErr: "InvalidParameterValue: Value (s) for parameter SubnetId is invalid. A list is expected."},
		{name: "not a boolean", form: "DryRun=yes", wantErr: "InvalidParameterValue: Value (yes) for parameter DryRun is invalid. A boolean is expected."},
		{name: "too deep", form: strings.Repeat("a.", 40) + "b=1", wantErr: "UnknownParameter: The parameter " + strings.Repeat("a.", 40) + "b is not recognized"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			var got ec2.DescribeSubnetsInput
			err = ec2query.Decode(form, &got)
			if text := fmt.Sprint(err); tt.wantErr != "" || err != nil {
				if text != tt.wantErr {
					t.Fatalf("got %v, want %v", err, tt.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, ignored(), cmpopts.IgnoreUnexported()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzDecode: whatever the form, an operation's decoder returns a value or an *Error and does not panic, and what it
// accepts the encoder can print.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"Filter.1.Name=a&Filter.1.Value.1=b", "TagSpecification.1.Tag.1.Key=k", "UserData=aGk=", "MinCount=1&MaxCount=x",
		"NetworkInterface.1.PrivateIpAddresses.1.Primary=true", "IamInstanceProfile=x&IamInstanceProfile.Arn=y", "..=1", "a.=&.a=", "=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		form, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		for _, in := range []any{&ec2.RunInstancesInput{}, &ec2.CreateNetworkInterfaceInput{}, &ec2.AuthorizeSecurityGroupIngressInput{}} {
			if err := ec2query.Decode(form, in); err != nil {
				if _, ok := errors.AsType[*ec2query.Error](err); !ok {
					t.Fatalf("%q: error of type %T: %v", s, err, err)
				}
				continue
			}
			ec2query.Encode("X", "r", in)
		}
	})
}
