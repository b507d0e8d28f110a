package aws_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/testkit/simcloud"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func ip(text string) netip.Addr       { return netip.MustParseAddr(text) }
func cidr(text string) netip.Prefix   { return netip.MustParsePrefix(text) }
func single(text string) vpc.Block    { return vpc.Single(ip(text)) }
func pref(text string) vpc.Block      { return vpc.PrefixBlock(cidr(text)) }
func named(texts ...string) vpc.Want  { return vpc.Want{Addrs: each(texts, netip.MustParseAddr)} }
func ranges(texts ...string) vpc.Want { return vpc.Want{Prefixes: each(texts, netip.MustParsePrefix)} }

func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// holds shows what an interface has.
func holds(e vpc.ENI, err error) (string, error) {
	return fmt.Sprintf("%s + %v", e.Primary, vpc.Blocks(e.Secondary, e.Prefixes)), err
}

// both runs a story on the simulator in process and over HTTP, and compares each with what EC2 does.
func both(t *testing.T, want string, tell func(ctx context.Context, n *notes)) {
	t.Helper()
	for _, way := range []struct {
		name string
		make func(*testing.T) *world
	}{{"in process", inProcess}, {"over HTTP", overHTTP}} {
		w := way.make(t)
		n := &notes{world: w, t: t, inner: simcloud.Cloud{Sim: w.sim, Caller: vpcsim.Caller{Source: "node"}}}
		tell(t.Context(), n)
		if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), n.lines); diff != "" {
			t.Errorf("%s (-want +got):\n%s", way.name, diff)
		}
	}
}

func (n *notes) held(ctx context.Context, step string, id vpc.ENIID) {
	enis, err := n.cloud.ENIs(ctx, []vpc.ENIID{id})
	if err != nil || len(enis) != 1 {
		n.note(step, len(enis), err)
		return
	}
	v, _ := holds(enis[0], nil)
	n.note(step, v, nil)
}

func TestNamedRequests(t *testing.T) {
	both(t, `
create with a primary and singles: 10.0.4.100 + [10.0.4.101 10.0.4.102]
create with a primary and prefixes: 10.0.4.103 + [10.0.4.32/28 10.0.4.48/28]
create with a primary that is taken: error AddressTaken
create with a single that is taken: error AddressTaken
create with a prefix that is taken: error AddressTaken
create with a reserved address: error Invalid
assign singles: [10.0.4.110 10.0.4.111]
assign prefixes: [10.0.4.64/28 10.0.4.80/28]
assign a single that another has: error AddressTaken
assign a single of another's prefix: error AddressTaken
assign a primary address: error AddressTaken
assign a prefix that another has: error AddressTaken
assign a prefix with one address in use: error AddressTaken
assign one that is free beside one that is taken: error AddressTaken
nothing came of it: 10.0.4.100 + [10.0.4.101 10.0.4.102 10.0.4.110 10.0.4.111 10.0.4.64/28 10.0.4.80/28]
assign outside of the subnet: error Invalid
assign the first prefix of the subnet: error Invalid
assign what is no block: error Invalid
assign nothing: error Invalid
assign in two ways: error Invalid
create in two ways: error Invalid
unassign both kinds: <nil>
unassign what is gone, of both kinds: <nil>
unassign a prefix as if it were its addresses: <nil>
what is left: 10.0.4.100 + [10.0.4.111 10.0.4.80/28]
create with a primary and a count: 10.0.5.104 + 2 more
create with a primary and a count of prefixes: 10.0.5.105 + 1 prefix
`, namedStory)
}

func namedStory(ctx context.Context, n *notes) {
	subnet, counted := n.addSubnet(n.t, "10.0.4.0/24"), n.addSubnet(n.t, "10.0.5.0/24")
	create := func(primary string, want vpc.Want) (vpc.ENI, error) {
		req := node.CreateENI{Token: fmt.Sprint(len(n.lines)), Subnet: subnet, Want: want}
		if primary != "" {
			req.Primary = ip(primary)
		}
		return n.cloud.CreateENI(ctx, req)
	}
	assign := func(step string, eni vpc.ENIID, want vpc.Want) {
		got, err := n.cloud.Assign(ctx, eni, want)
		n.note(step, got, err)
	}
	one, err := create("10.0.4.100", named("10.0.4.101", "10.0.4.102"))
	v, _ := holds(one, nil)
	n.note("create with a primary and singles", v, err)
	two, err := create("10.0.4.103", ranges("10.0.4.32/28", "10.0.4.48/28"))
	v, _ = holds(two, nil)
	n.note("create with a primary and prefixes", v, err)
	for _, tt := range []struct {
		step, primary string
		want          vpc.Want
	}{
		{"create with a primary that is taken", "10.0.4.101", vpc.Want{}},
		{"create with a single that is taken", "", named("10.0.4.106", "10.0.4.102")},
		{"create with a prefix that is taken", "", ranges("10.0.4.48/28")},
		{"create with a reserved address", "10.0.4.3", vpc.Want{}},
	} {
		_, err := create(tt.primary, tt.want)
		n.note(tt.step, nil, err)
	}
	assign("assign singles", one.ID, named("10.0.4.110", "10.0.4.111"))
	assign("assign prefixes", one.ID, ranges("10.0.4.64/28", "10.0.4.80/28"))
	assign("assign a single that another has", two.ID, named("10.0.4.101"))
	assign("assign a single of another's prefix", two.ID, named("10.0.4.70"))
	assign("assign a primary address", two.ID, named("10.0.4.100"))
	assign("assign a prefix that another has", two.ID, ranges("10.0.4.64/28"))
	assign("assign a prefix with one address in use", two.ID, ranges("10.0.4.96/28"))
	assign("assign one that is free beside one that is taken", one.ID, named("10.0.4.112", "10.0.4.103"))
	n.held(ctx, "nothing came of it", one.ID)
	assign("assign outside of the subnet", one.ID, named("10.0.9.1"))
	assign("assign the first prefix of the subnet", one.ID, ranges("10.0.4.0/28"))
	assign("assign what is no block", one.ID, ranges("10.0.4.128/27"))
	assign("assign nothing", one.ID, vpc.Want{})
	assign("assign in two ways", one.ID, vpc.Want{Count: 1, PrefixCount: 1})
	_, err = create("", vpc.Want{Count: 1, Prefixes: []netip.Prefix{cidr("10.0.4.144/28")}})
	n.note("create in two ways", nil, err)
	n.note("unassign both kinds", nil, n.cloud.Unassign(ctx, one.ID, []vpc.Block{single("10.0.4.101"), single("10.0.4.110"), pref("10.0.4.64/28")}))
	n.note("unassign what is gone, of both kinds", nil, n.cloud.Unassign(ctx, one.ID, []vpc.Block{single("10.0.4.110"), single("10.0.4.102"), pref("10.0.4.64/28")}))
	n.note("unassign a prefix as if it were its addresses", nil, n.cloud.Unassign(ctx, one.ID, vpc.Blocks(pref("10.0.4.80/28").Addrs(), nil)))
	n.held(ctx, "what is left", one.ID)
	e, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "c", Subnet: counted, Primary: ip("10.0.5.104"), Want: vpc.Want{Count: 2}})
	n.note("create with a primary and a count", fmt.Sprintf("%s + %d more", e.Primary, len(e.Secondary)), err)
	e, err = n.cloud.CreateENI(ctx, node.CreateENI{Token: "p", Subnet: counted, Primary: ip("10.0.5.105"), Want: vpc.Want{PrefixCount: 1}})
	n.note("create with a primary and a count of prefixes", fmt.Sprintf("%s + %d prefix", e.Primary, len(e.Prefixes)), err)
}

func TestExhaustions(t *testing.T) {
	both(t, `
no aligned block is left: error PrefixFragmented
nor for a new interface: error PrefixFragmented
single addresses are: 2
too few addresses for a prefix: error PrefixFragmented
too few for a new interface with a prefix: error PrefixFragmented
no address is left: error SubnetFull
nor for a new interface: error SubnetFull
nor a prefix: error PrefixFragmented
`, func(ctx context.Context, n *notes) {
		small := n.addSubnet(n.t, "10.0.2.0/26") // blocks .16 and .32 may be prefixes
		create := func(want vpc.Want) (vpc.ENI, error) {
			return n.cloud.CreateENI(ctx, node.CreateENI{Token: fmt.Sprint("x", len(n.lines)), Subnet: small, Want: want})
		}
		assign := func(step string, eni vpc.ENIID, want vpc.Want) {
			got, err := n.cloud.Assign(ctx, eni, want)
			n.note(step, len(got), err)
		}
		eni, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "a", Subnet: small, Primary: ip("10.0.2.20"), Want: named("10.0.2.40")})
		if err != nil {
			n.t.Fatal(err)
		}
		assign("no aligned block is left", eni.ID, vpc.Want{PrefixCount: 1})
		_, err = create(vpc.Want{PrefixCount: 1})
		n.note("nor for a new interface", nil, err)
		assign("single addresses are", eni.ID, vpc.Want{Count: 2})
		if _, err := n.cloud.Assign(ctx, eni.ID, vpc.Want{Count: 46}); err != nil { // of 59: 9 are left
			n.t.Fatal(err)
		}
		assign("too few addresses for a prefix", eni.ID, vpc.Want{PrefixCount: 1})
		_, err = create(vpc.Want{PrefixCount: 1})
		n.note("too few for a new interface with a prefix", nil, err)
		if _, err := n.cloud.Assign(ctx, eni.ID, vpc.Want{Count: 9}); err != nil {
			n.t.Fatal(err)
		}
		assign("no address is left", eni.ID, vpc.Want{Count: 1})
		_, err = create(vpc.Want{Count: 1})
		n.note("nor for a new interface", nil, err)
		assign("nor a prefix", eni.ID, vpc.Want{PrefixCount: 1})
	})
}

func TestReservations(t *testing.T) {
	both(t, `
reserve: 10.0.0.64/27 prefix map[owner:a]
reserve what overlaps: error AddressTaken
reserve outside of the subnet: error Invalid
reserve in no subnet: error NotFound
reservations: 10.0.0.64/27 prefix, 10.0.0.128/28 explicit
prefixes come from there: true
an explicit one may be named: [10.0.0.128/28]
`, func(ctx context.Context, n *notes) {
		reserve := func(step string, subnet vpc.SubnetID, block string) {
			r, err := n.cloud.ReservePrefixes(ctx, subnet, cidr(block), vpc.Tags{"owner": "a"})
			n.note(step, fmt.Sprint(r.CIDR, " ", r.Type, " ", r.Tags), err)
		}
		reserve("reserve", n.subnet, "10.0.0.64/27")
		reserve("reserve what overlaps", n.subnet, "10.0.0.64/28")
		reserve("reserve outside of the subnet", n.subnet, "10.0.9.0/28")
		reserve("reserve in no subnet", "subnet-0ffffffffffffffff", "10.0.0.0/28")
		_, err := n.sim.CreateSubnetCidrReservation(vpcsim.Caller{Source: "operator"}, ec2.CreateSubnetCidrReservationInput{
			SubnetId: string(n.subnet), Cidr: "10.0.0.128/28", ReservationType: "explicit",
		})
		if err != nil {
			n.t.Fatal(err)
		}
		_, list, err := n.cloud.Occupants(ctx, n.subnet)
		slices.SortFunc(list, func(a, b vpc.Reservation) int { return a.CIDR.Compare(b.CIDR) })
		lines := each(list, func(r vpc.Reservation) string { return fmt.Sprint(r.CIDR, " ", r.Type) })
		n.note("reservations", strings.Join(lines, ", "), err)
		eni, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "p", Subnet: n.subnet, Want: vpc.Want{PrefixCount: 2}})
		inside := !slices.ContainsFunc(eni.Prefixes, func(p netip.Prefix) bool { return !cidr("10.0.0.64/27").Contains(p.Addr()) })
		n.note("prefixes come from there", len(eni.Prefixes) == 2 && inside, err)
		got, err := n.cloud.Assign(ctx, eni.ID, ranges("10.0.0.128/28"))
		n.note("an explicit one may be named", got, err)
	})
}

// A /21 holds more interfaces than a page.
func TestOccupantsOfManyPages(t *testing.T) {
	both(t, `
occupants: 1203 of this subnet, 1203 different, 1203 with all their addresses
`, func(ctx context.Context, n *notes) {
		big := n.addSubnet(n.t, "10.0.16.0/20")
		kinds := []vpc.Want{{}, {Count: 1}, {PrefixCount: 1}}
		made := map[vpc.ENIID]string{}
		for i := range 1203 {
			w := vpc.Want{}
			if i < 60 {
				w = kinds[i%len(kinds)]
			}
			out, err := n.inner.CreateENI(ctx, node.CreateENI{Subnet: big, Want: w})
			if err != nil {
				n.t.Fatal(err)
			}
			made[out.ID], _ = holds(out, nil)
		}
		enis, _, err := n.cloud.Occupants(ctx, big)
		here, whole, seen := 0, 0, map[vpc.ENIID]bool{}
		for _, e := range enis {
			seen[e.ID] = true
			if e.Subnet == big {
				here++
			}
			if v, _ := holds(e, nil); v == made[e.ID] {
				whole++
			}
		}
		n.note("occupants", fmt.Sprintf("%d of this subnet, %d different, %d with all their addresses", here, len(seen), whole), err)
	})
}

func TestGroupsByTag(t *testing.T) {
	both(t, `
groups: a=1 b=0
`, func(ctx context.Context, n *notes) {
		group := func(id vpc.ID, name string, tags ...ec2.Tag) {
			_, err := n.sim.CreateSecurityGroup(vpcsim.Caller{Source: "operator"}, ec2.CreateSecurityGroupInput{
				GroupName: name, Description: "x", VpcId: string(id), TagSpecifications: []ec2.TagSpecification{{ResourceType: "security-group", Tags: tags}},
			})
			if err != nil {
				n.t.Fatal(err)
			}
		}
		group(n.vpc, "a", ec2.Tag{Key: vpc.TagCNIRole, Value: "1"}, ec2.Tag{Key: vpc.TagCNIClusterPrefix + "demo", Value: "1"})
		group(n.vpc, "b", ec2.Tag{Key: vpc.TagCNIRole, Value: "0"})
		group(n.vpc, "c", ec2.Tag{Key: "team", Value: vpc.TagCNIRole})
		other, err := n.sim.CreateVpc(vpcsim.Caller{Source: "operator"}, ec2.CreateVpcInput{CidrBlock: "10.9.0.0/16"})
		if err != nil {
			n.t.Fatal(err)
		}
		group(vpc.ID(other.Vpc.VpcId), "d", ec2.Tag{Key: vpc.TagCNIRole, Value: "1"})
		groups, err := n.cloud.SecurityGroups(ctx, n.vpc)
		slices.SortFunc(groups, func(a, b vpc.SecurityGroup) int { return strings.Compare(a.Name, b.Name) })
		lines := each(groups, func(g vpc.SecurityGroup) string { return g.Name + "=" + g.Tags[vpc.TagCNIRole] })
		n.note("groups", strings.Join(lines, " "), err)
	})
}

// Two nodes read the same map and choose the same block: one of them is told that it was too slow, nobody has it twice.
func TestLostRace(t *testing.T) {
	both(t, `
first: 10.0.6.50 + [10.0.6.51 10.0.6.64/28]
second, primary: error AddressTaken
second, single: error AddressTaken
second, prefix: error AddressTaken
the second with what it chose anew: [10.0.6.52]
`, func(ctx context.Context, n *notes) {
		subnet := n.addSubnet(n.t, "10.0.6.0/24")
		first, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "1", Subnet: subnet, Primary: ip("10.0.6.50"), Want: named("10.0.6.51")})
		if err == nil {
			_, err = n.cloud.Assign(ctx, first.ID, ranges("10.0.6.64/28"))
		}
		if err != nil {
			n.t.Fatal(err)
		}
		n.held(ctx, "first", first.ID)
		_, err = n.cloud.CreateENI(ctx, node.CreateENI{Token: "2", Subnet: subnet, Primary: ip("10.0.6.50")})
		n.note("second, primary", nil, err)
		second, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "3", Subnet: subnet})
		if err != nil {
			n.t.Fatal(err)
		}
		_, err = n.cloud.Assign(ctx, second.ID, named("10.0.6.51"))
		n.note("second, single", nil, err)
		_, err = n.cloud.Assign(ctx, second.ID, ranges("10.0.6.64/28"))
		n.note("second, prefix", nil, err)
		got, err := n.cloud.Assign(ctx, second.ID, named("10.0.6.52"))
		n.note("the second with what it chose anew", got, err)
	})
}

// The policies that ship allow what they are for, and nothing works without them.
func TestPoliciesOfSubnets(t *testing.T) {
	both(t, `
occupants, without the policy: error NotAuthorized
reserve, without the policy: error NotAuthorized
groups, without the policy: error NotAuthorized
occupants: 1
reserve: map[owner:a]
groups: 0
`, func(ctx context.Context, n *notes) {
		policies := func(names ...string) {
			var documents []string
			for _, name := range names {
				data, err := os.ReadFile(filepath.Join("../../deploy/iam", name+".json"))
				if err != nil {
					n.t.Fatal(err)
				}
				documents = append(documents, string(data))
			}
			if err := n.sim.SetPolicies("", documents...); err != nil {
				n.t.Fatal(err)
			}
		}
		ask := func(suffix string) {
			enis, _, err := n.cloud.Occupants(ctx, n.subnet)
			n.note("occupants"+suffix, len(enis), err)
			r, err := n.cloud.ReservePrefixes(ctx, n.subnet, cidr("10.0.0.64/27"), vpc.Tags{"owner": "a"})
			n.note("reserve"+suffix, r.Tags, err)
			groups, err := n.cloud.SecurityGroups(ctx, n.vpc)
			n.note("groups"+suffix, len(groups), err)
		}
		n.sim.SetSettings(vpcsim.Settings{Authorize: true})
		policies("addressing", "subnet-discovery", "tags")
		ask(", without the policy")
		policies("addressing", "subnet-maps", "prefix-reservations", "security-groups")
		ask("")
	})
}
