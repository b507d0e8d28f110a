// Package blocks knows which address blocks a VPC takes: their size, what may never be used, and which secondary block
// goes with which primary one.
package blocks

import (
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

var (
	rfc10     = netip.MustParsePrefix("10.0.0.0/8")
	rfc172    = netip.MustParsePrefix("172.16.0.0/12")
	rfc192    = netip.MustParsePrefix("192.168.0.0/16")
	bench     = netip.MustParsePrefix("198.19.0.0/16")
	docker    = netip.MustParsePrefix("172.31.0.0/16")
	tenLow    = netip.MustParsePrefix("10.0.0.0/16")
	tenLowest = netip.MustParsePrefix("10.0.0.0/15")
)

// never are the ranges that no VPC may use.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
}

// refused are the ranges that a secondary block may not touch, by the range that the primary block is in.
// Source: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions, August 2026.
var refused = []struct {
	primary netip.Prefix
	ranges  []netip.Prefix
}{
	{rfc10, []netip.Prefix{rfc172, rfc192, bench}},
	{rfc172, []netip.Prefix{rfc10, rfc192, docker, bench}},
	{rfc192, []netip.Prefix{rfc10, rfc172, bench}},
	{bench, []netip.Prefix{rfc10, rfc172, rfc192}},
	{netip.MustParsePrefix("0.0.0.0/0"), []netip.Prefix{rfc10, rfc172, rfc192, bench}}, // public and 100.64.0.0/10
}

// Parse reads the block of a request; host bits are dropped, as EC2 does.
func Parse(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, ec2.Errorf("MissingParameter", "The request must contain the parameter cidrBlock")
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, ec2.Errorf("InvalidParameterValue",
			"Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", s)
	}
	return p.Masked(), nil
}

// CheckVPC tells whether a block may be a VPC's first.
func CheckVPC(p netip.Prefix) error {
	if p.Bits() < 16 || p.Bits() > 28 {
		return ec2.Errorf("InvalidVpc.Range", "The CIDR '%s' is invalid.", p)
	}
	for _, r := range never {
		if r.Overlaps(p) {
			return ec2.Errorf("InvalidVpc.Range", "The CIDR '%s' is invalid.", p)
		}
	}
	return nil
}

// CheckSecondary tells whether a block may be added to the blocks that a VPC has, the first of which is its primary
// one. The restriction table does not apply when lax.
func CheckSecondary(have []netip.Prefix, p netip.Prefix, lax bool) error {
	if err := CheckVPC(p); err != nil {
		return err
	}
	for _, h := range have {
		if h.Overlaps(p) {
			return ec2.Errorf("CidrConflict", "The CIDR '%s' conflicts with another CIDR of the VPC: '%s'", p, h)
		}
	}
	if !lax && (restricted(have[0], p) || lowTen(have, p)) {
		return ec2.Errorf("InvalidVpc.Range", "The CIDR '%s' is restricted. Use a CIDR from the same private address "+
			"range as the current VPC CIDR, or use a publicly-routable CIDR. For additional restrictions, see "+
			"https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html", p)
	}
	return nil
}

func restricted(primary, p netip.Prefix) bool {
	for _, row := range refused {
		if !row.primary.Contains(primary.Addr()) {
			continue
		}
		for _, r := range row.ranges {
			if r.Overlaps(p) {
				return true
			}
		}
		return false
	}
	return false
}

// lowTen holds EC2's own rule that 10.0.0.0/16 is barred when any block is inside 10.0.0.0/15.
func lowTen(have []netip.Prefix, p netip.Prefix) bool {
	if !tenLow.Overlaps(p) {
		return false
	}
	return slices.ContainsFunc(have, tenLowest.Overlaps)
}
