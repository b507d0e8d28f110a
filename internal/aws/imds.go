package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Metadata is the instance metadata service. What it says lags behind EC2 and may be partial.
type Metadata struct {
	client *imds.Client
	// Reads, unless it is nil, is called for every value that is asked for.
	reads func()
}

const (
	metadataAttempts = 4
	// metadataTimeout bounds one attempt; the service answers in milliseconds or not at all.
	metadataTimeout = 2 * time.Second
	// maxValue bounds one value, in bytes.
	maxValue = 64 << 10
)

// NewMetadata returns a client of the metadata service. It does not talk to it yet. reads, unless it is nil, is called
// for every value that is asked for, from any goroutine.
func NewMetadata(reads func()) *Metadata {
	if reads == nil {
		reads = func() {}
	}
	client := imds.New(imds.Options{
		HTTPClient: &http.Client{Timeout: metadataTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = metadataAttempts
			o.MaxBackoff = time.Second
		}),
	})
	return &Metadata{client: client, reads: reads}
}

// get reads one value; absent tells that the service has no such value.
func (m *Metadata) get(ctx context.Context, path string) (value string, absent bool, err error) {
	m.reads()
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.HTTPStatusCode() == http.StatusNotFound {
			return "", true, nil
		}
		return "", false, metadataError(path, err)
	}
	defer func() { _ = out.Content.Close() }()
	data, err := io.ReadAll(io.LimitReader(out.Content, maxValue))
	if err != nil {
		return "", false, metadataError(path, err)
	}
	return strings.TrimSpace(string(data)), false, nil
}

// must reads a value that has to be there.
func (m *Metadata) must(ctx context.Context, path string) (string, error) {
	v, absent, err := m.get(ctx, path)
	if err == nil && (absent || v == "") {
		err = &vpc.Error{Code: vpc.NotFound, Op: "IMDS", Subject: path}
	}
	return v, err
}

func metadataError(path string, err error) *vpc.Error {
	e := &vpc.Error{Code: vpc.Internal, Op: "IMDS", Subject: path, Err: err}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.HTTPStatusCode() == http.StatusUnauthorized {
		e.Code, e.Hint = vpc.NotAuthorized, "the instance requires IMDSv2 and the token was refused: check its metadata options and hop limit"
	}
	return e
}

// identity is the part of the instance identity document that is read.
type identity struct {
	Region           string `json:"region"`
	AvailabilityZone string `json:"availabilityZone"`
	InstanceID       string `json:"instanceId"`
	InstanceType     string `json:"instanceType"`
}

func (m *Metadata) identity(ctx context.Context) (identity, error) {
	const path = "dynamic/instance-identity/document"
	m.reads()
	out, err := m.client.GetDynamicData(ctx, &imds.GetDynamicDataInput{Path: "instance-identity/document"})
	if err != nil {
		return identity{}, metadataError(path, err)
	}
	defer func() { _ = out.Content.Close() }()
	var doc identity
	if err := json.NewDecoder(io.LimitReader(out.Content, maxValue)).Decode(&doc); err != nil {
		return identity{}, metadataError(path, fmt.Errorf("decode: %w", err))
	}
	if doc.InstanceID == "" || doc.InstanceType == "" || doc.Region == "" || doc.AvailabilityZone == "" {
		return identity{}, metadataError(path, fmt.Errorf("instance, type, region or zone missing: %+v", doc))
	}
	return doc, nil
}

// Instance reads what the node must know of itself to start.
func (m *Metadata) Instance(ctx context.Context) (vpc.Instance, error) {
	doc, err := m.identity(ctx)
	if err != nil {
		return vpc.Instance{}, err
	}
	mac, err := m.must(ctx, "mac")
	if err != nil {
		return vpc.Instance{}, err
	}
	in := vpc.Instance{
		ID: vpc.InstanceID(doc.InstanceID), Type: doc.InstanceType, Region: doc.Region, Zone: vpc.ZoneName(doc.AvailabilityZone),
		PrimaryMAC: strings.ToLower(mac),
	}
	base := macPath(mac)
	var vpcID, subnet, eni, address string
	for _, v := range []struct {
		path string
		to   *string
	}{
		{base + "vpc-id", &vpcID}, {base + "subnet-id", &subnet}, {base + "interface-id", &eni}, {base + "local-ipv4s", &address},
	} {
		if *v.to, err = m.must(ctx, v.path); err != nil {
			return vpc.Instance{}, err
		}
	}
	in.VPC, in.Subnet, in.PrimaryENI = vpc.ID(vpcID), vpc.SubnetID(subnet), vpc.ENIID(eni)
	addrs, err := parseAddrs(address)
	if err != nil || len(addrs) == 0 {
		return vpc.Instance{}, metadataError(base+"local-ipv4s", fmt.Errorf("%q: %w", address, err))
	}
	in.PrimaryIP = addrs[0]
	in.VPCCIDRs, in.Groups, err = m.Refresh(ctx, mac)
	return in, err
}

// Refresh reads what may change under way: the VPC's blocks and the primary interface's security groups.
func (m *Metadata) Refresh(ctx context.Context, primaryMAC string) ([]netip.Prefix, []vpc.SecurityGroupID, error) {
	base := macPath(primaryMAC)
	text, err := m.must(ctx, base+"vpc-ipv4-cidr-blocks")
	if err != nil {
		return nil, nil, err
	}
	cidrs, err := parsePrefixes(text)
	if err != nil {
		return nil, nil, metadataError(base+"vpc-ipv4-cidr-blocks", err)
	}
	text, err = m.must(ctx, base+"security-group-ids")
	if err != nil {
		return nil, nil, err
	}
	var groups []vpc.SecurityGroupID
	for g := range strings.FieldsSeq(text) {
		groups = append(groups, vpc.SecurityGroupID(g))
	}
	return cidrs, groups, nil
}

// ENIs walks all interfaces. One that is only partly there, as happens around an attach or a detach, is left out.
func (m *Metadata) ENIs(ctx context.Context) ([]vpc.MetadataENI, error) {
	list, err := m.must(ctx, "network/interfaces/macs/")
	if err != nil {
		return nil, err
	}
	var out []vpc.MetadataENI
	for mac := range strings.FieldsSeq(list) {
		e, complete, err := m.eni(ctx, strings.TrimSuffix(mac, "/"))
		if err != nil {
			return nil, err
		}
		if complete {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b vpc.MetadataENI) int {
		return 1000*(a.NetworkCard-b.NetworkCard) + a.DeviceIndex - b.DeviceIndex
	})
	return out, nil
}

func (m *Metadata) eni(ctx context.Context, mac string) (e vpc.MetadataENI, complete bool, err error) {
	base := macPath(mac)
	values := map[string]string{}
	for _, v := range []struct {
		name     string
		optional bool
	}{
		{"interface-id", false},
		{"device-number", false},
		{"subnet-id", false},
		{"network-card", true}, // absent where there is one card
		{"subnet-ipv4-cidr-block", true},
		{"local-ipv4s", true}, // absent for efa-only interfaces
		{"ipv4-prefix", true},
	} {
		text, absent, err := m.get(ctx, base+v.name)
		if err != nil {
			return e, false, err
		}
		if absent && !v.optional {
			return e, false, nil
		}
		values[v.name] = text
	}
	e, err = parseENI(values)
	if err != nil {
		return e, false, metadataError(base, err)
	}
	e.MAC = strings.ToLower(mac)
	return e, true, nil
}

func parseENI(v map[string]string) (vpc.MetadataENI, error) {
	e := vpc.MetadataENI{ID: vpc.ENIID(v["interface-id"]), Subnet: vpc.SubnetID(v["subnet-id"])}
	if !strings.HasPrefix(string(e.ID), "eni-") {
		return e, fmt.Errorf("interface-id: %q is none", e.ID)
	}
	var err error
	if e.DeviceIndex, err = parseNumber(v["device-number"]); err != nil {
		return e, fmt.Errorf("device-number: %w", err)
	}
	if card := v["network-card"]; card != "" {
		if e.NetworkCard, err = parseNumber(card); err != nil {
			return e, fmt.Errorf("network-card: %w", err)
		}
	}
	if block := v["subnet-ipv4-cidr-block"]; block != "" {
		if e.SubnetCIDR, err = parsePrefix(block); err != nil {
			return e, fmt.Errorf("subnet-ipv4-cidr-block: %w", err)
		}
	}
	if e.Addresses, err = parseAddrs(v["local-ipv4s"]); err != nil {
		return e, fmt.Errorf("local-ipv4s: %w", err)
	}
	if e.Prefixes, err = parsePrefixes(v["ipv4-prefix"]); err != nil {
		return e, fmt.Errorf("ipv4-prefix: %w", err)
	}
	return e, nil
}

// parseNumber reads a device index or a network card, of which there are few.
func parseNumber(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	return int(n), err
}

func macPath(mac string) string { return "network/interfaces/macs/" + mac + "/" }

func parseAddrs(text string) ([]netip.Addr, error) {
	var out []netip.Addr
	for f := range strings.FieldsSeq(text) {
		a, err := netip.ParseAddr(f)
		if err == nil && !a.Is4() {
			err = fmt.Errorf("%s is not IPv4", a)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func parsePrefixes(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for f := range strings.FieldsSeq(text) {
		p, err := parsePrefix(f)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err == nil && !p.Addr().Is4() {
		err = fmt.Errorf("%s is not IPv4", p)
	}
	return p, err
}
