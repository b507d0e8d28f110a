package ec2api

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRequest(t *testing.T) {
	got := request[ec2.CreateNetworkInterfaceInput](&sdk.CreateNetworkInterfaceInput{
		SubnetId: aws.String("subnet-1"), InterfaceType: types.NetworkInterfaceCreationTypeTrunk, Groups: []string{"sg-1"},
		Ipv4PrefixCount: aws.Int32(0), DryRun: aws.Bool(true), EnablePrimaryIpv6: aws.Bool(true), // the last is unknown to the simulator
		PrivateIpAddresses: []types.PrivateIpAddressSpecification{{PrivateIpAddress: aws.String("10.0.0.9"), Primary: aws.Bool(true)}},
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeNetworkInterface, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("")}},
		}},
	})
	want := ec2.CreateNetworkInterfaceInput{
		SubnetId: "subnet-1", InterfaceType: "trunk", Groups: []string{"sg-1"}, Ipv4PrefixCount: new(0), DryRun: true,
		PrivateIpAddresses: []ec2.PrivateIpAddressSpecification{{PrivateIpAddress: "10.0.0.9", Primary: true}},
		TagSpecifications:  []ec2.TagSpecification{{ResourceType: "network-interface", Tags: []ec2.Tag{{Key: "k"}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReplyGolden holds the whole of what a client sees of an interface: names, order, what is absent and what is empty.
func TestReplyGolden(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plain := ec2.NetworkInterface{
		NetworkInterfaceId: "eni-1", SubnetId: "subnet-1", VpcId: "vpc-1", OwnerId: "111122223333", AvailabilityZone: "us-west-2a",
		InterfaceType: "interface", MacAddress: "02:00:00:00:00:01", PrivateIpAddress: "10.0.0.9", Status: "available", SourceDestCheck: true,
		PrivateIpAddresses: []ec2.NetworkInterfacePrivateIpAddress{{PrivateIpAddress: "10.0.0.9", Primary: true}},
	}
	full := plain
	full.NetworkInterfaceId, full.Description, full.Status = "eni-2", "aws-K8S-i-1", "in-use"
	full.Attachment = &ec2.NetworkInterfaceAttachment{
		AttachmentId: "eni-attach-1", InstanceId: "i-1", InstanceOwnerId: "111122223333", Status: "attached", DeviceIndex: 1, AttachTime: at,
		DeleteOnTermination: true,
	}
	full.Groups = []ec2.GroupIdentifier{{GroupId: "sg-1", GroupName: "default"}}
	full.Ipv4Prefixes = []ec2.Ipv4PrefixSpecification{{Ipv4Prefix: "10.0.0.16/28"}}
	full.Association = &ec2.NetworkInterfaceAssociation{PublicIp: "192.0.2.1", IpOwnerId: "amazon"}
	full.TagSet = []ec2.Tag{{Key: "k", Value: ""}}
	out := ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: []ec2.NetworkInterface{plain, full}}
	got := indent(t, ec2query.Encode("DescribeNetworkInterfaces", "request-1", response[sdk.DescribeNetworkInterfacesOutput](&out)))
	const golden = "testdata/describe-network-interfaces.xml"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// indent prints XML one element to a line.
func indent(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	d, e := xml.NewDecoder(strings.NewReader(string(b))), xml.NewEncoder(&out)
	e.Indent("", " ")
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) == "" {
			continue
		}
		if err := e.EncodeToken(token); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

func TestPageRequest(t *testing.T) {
	p := pageRequest(&sdk.DescribeSubnetsInput{MaxResults: aws.Int32(7), NextToken: aws.String("t"), SubnetIds: []string{"s"}}, 1)
	if *p.MaxResults != 7 || *p.NextToken != "t" || !p.HasIDs || p.Query != 1 {
		t.Errorf("got %+v", p)
	}
	if pageRequest(&sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.large"}}, 0).HasIDs {
		t.Error("instance types are no ids")
	}
}
