package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/berth-net/berth/internal/core/vpc"
)

// count is a number of addresses or prefixes as EC2 takes it: absent when none.
func count(n int) *int32 {
	if n <= 0 {
		return nil
	}
	return sdk.Int32(int32(n)) //nolint:gosec // at most an interface's slots
}

// oneWay refuses a Want that asks in more than one way, as EC2 would.
func oneWay(o op, w vpc.Want) error {
	ways := 0
	for _, n := range []int{w.Count, w.PrefixCount, len(w.Addrs), len(w.Prefixes)} {
		if n > 0 {
			ways++
		}
	}
	if ways > 1 {
		return &vpc.Error{Code: vpc.Invalid, Op: o.action, Subject: o.subject, Err: errors.New("addresses and prefixes, or names and counts, are asked for in one call")}
	}
	return nil
}

// Assign assigns more secondary addresses or prefixes and returns which. EC2 has no token for this call: it is made once. A
// named block is never taken from another interface.
func (c *Client) Assign(ctx context.Context, eni vpc.ENIID, want vpc.Want) ([]vpc.Block, error) {
	o := op{action: "AssignPrivateIpAddresses", subject: string(eni), once: true, prefixes: want.InPrefixes()}
	if err := oneWay(o, want); err != nil {
		return nil, err
	}
	if want.Slots() == 0 {
		return nil, &vpc.Error{Code: vpc.Invalid, Op: o.action, Subject: o.subject, Err: errors.New("nothing is asked for")}
	}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.AssignPrivateIpAddressesOutput, error) {
		return c.ec2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: sdk.String(string(eni)), SecondaryPrivateIpAddressCount: count(want.Count), Ipv4PrefixCount: count(want.PrefixCount),
			PrivateIpAddresses: spell(want.Addrs), Ipv4Prefixes: spell(want.Prefixes),
		})
	})
	if err != nil {
		return nil, err
	}
	var blocks []vpc.Block
	for _, item := range out.AssignedPrivateIpAddresses {
		a, err := netip.ParseAddr(sdk.ToString(item.PrivateIpAddress))
		if err != nil {
			return nil, garbage(o, fmt.Errorf("assigned address: %w", err))
		}
		blocks = append(blocks, vpc.Single(a))
	}
	for _, item := range out.AssignedIpv4Prefixes {
		p, err := toPrefix(item.Ipv4Prefix)
		if err != nil {
			return nil, garbage(o, fmt.Errorf("assigned prefix: %w", err))
		}
		blocks = append(blocks, vpc.PrefixBlock(p))
	}
	return blocks, nil
}

// toPrefix reads a prefix that is assigned to an interface.
func toPrefix(text *string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(sdk.ToString(text))
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Bits() != vpc.PrefixBits || !p.Addr().Is4() || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is no aligned /%d", p, vpc.PrefixBits)
	}
	return p, nil
}

// Unassign gives secondary addresses and prefixes back, in a call for each kind; what is not assigned any more is success.
func (c *Client) Unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	addrs, prefixes := vpc.Split(blocks)
	if len(addrs) > 0 {
		if err := c.unassignKind(ctx, eni, vpc.Blocks(addrs, nil)); err != nil {
			return err
		}
	}
	if len(prefixes) == 0 {
		return nil
	}
	err := c.unassignKind(ctx, eni, vpc.Blocks(nil, prefixes))
	if refused, ok := errors.AsType[*vpc.Error](err); ok {
		return inDoubt(refused, len(addrs) > 0)
	}
	return err
}

// unassignKind gives blocks of one kind back. EC2 refuses the whole call for one that is not assigned any more, so what is
// left is read and asked for again.
func (c *Client) unassignKind(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	err := c.unassign(ctx, eni, blocks)
	switch vpc.CodeOf(err) {
	case vpc.NotFound:
		return nil // with its interface
	case vpc.Invalid:
	default:
		return err
	}
	enis, readErr := c.ENIs(ctx, []vpc.ENIID{eni})
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if len(enis) == 0 {
		return nil
	}
	if slices.Contains(blocks, vpc.Single(enis[0].Primary)) {
		return err // it is assigned, and stays so as long as the interface is there
	}
	held := vpc.Blocks(enis[0].Secondary, enis[0].Prefixes)
	left := slices.DeleteFunc(slices.Clone(blocks), func(b vpc.Block) bool { return !slices.Contains(held, b) })
	switch len(left) {
	case 0:
		return nil
	case len(blocks):
		return err // refused for another reason
	}
	return c.unassign(ctx, eni, left)
}

func (c *Client) unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	o := op{action: "UnassignPrivateIpAddresses", subject: string(eni)}
	addrs, prefixes := vpc.Split(blocks)
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.UnassignPrivateIpAddressesOutput, error) {
		return c.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{
			NetworkInterfaceId: sdk.String(string(eni)), PrivateIpAddresses: spell(addrs), Ipv4Prefixes: spell(prefixes),
		})
	})
	return err
}

func spell[T fmt.Stringer](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}
