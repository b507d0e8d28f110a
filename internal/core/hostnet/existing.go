package hostnet

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// ExistingTable is the nftables table of the Amazon VPC CNI, family ip, from version 1.23 on.
const ExistingTable = "aws-cni"

// ExistingHooks are the base chains of iptables, as table and chain, in which the Amazon VPC CNI has rules.
func ExistingHooks() [][2]string {
	return [][2]string{{"nat", "POSTROUTING"}, {"nat", "PREROUTING"}, {"mangle", "PREROUTING"}}
}

// existingChains are the prefixes of the chains that it makes, each for its own rules only; versions before 1.8 had several.
var existingChains = []string{"AWS-SNAT-CHAIN-", "AWS-CONNMARK-CHAIN-"}

// existingComments are the comments of those of its rules in base chains that jump to no chain of its own.
var existingComments = []string{"AWS, primary ENI", "AWS, CONNMARK", "AWS, outbound connections"}

// IsExistingChain tells whether a chain of iptables is the Amazon VPC CNI's.
func IsExistingChain(name string) bool {
	return slices.ContainsFunc(existingChains, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// IsExistingSNAT tells whether a chain of iptables is one by which the Amazon VPC CNI translates addresses.
func IsExistingSNAT(name string) bool { return strings.HasPrefix(name, existingChains[0]) }

// Translates tells whether a rule of such a chain translates addresses, by its target. raw is as for IsExistingRule.
func Translates(raw []byte) bool { return bytes.Contains(raw, []byte("SNAT\x00")) }

// IsExistingRule tells whether a rule of a base chain is the Amazon VPC CNI's: it jumps to a chain of its own or bears one of
// its comments. raw is the rule as the kernel prints it, in which both stand as text that ends with a zero byte.
func IsExistingRule(raw []byte) bool {
	for _, prefix := range existingChains {
		if bytes.Contains(raw, []byte(prefix)) {
			return true
		}
	}
	for _, comment := range existingComments {
		if bytes.Contains(raw, append([]byte(comment), 0)) {
			return true
		}
	}
	return false
}

// Existing is what a node still has of the Amazon VPC CNI's address translation and marks, as nftables show it: its own
// table, and its part of the tables of iptables-nft.
type Existing struct {
	Table  bool
	Chains []ExistingChain
	Rules  []ExistingRule
}

// ExistingChain is a chain in a table of iptables-nft.
type ExistingChain struct{ Table, Name string }

// ExistingRule is a rule in a base chain of iptables-nft.
type ExistingRule struct {
	Table, Chain string
	Handle       uint64
}

// Removal is what to give to nft, one line a command and all in one transaction; none when nothing is left. Whatever
// jumps to a chain goes before the chain.
func (e Existing) Removal() []string {
	var lines []string
	for _, r := range e.Rules {
		lines = append(lines, fmt.Sprintf("delete rule ip %s %s handle %d", r.Table, r.Chain, r.Handle))
	}
	for _, c := range e.Chains {
		lines = append(lines, fmt.Sprintf("flush chain ip %s %s", c.Table, c.Name))
	}
	for _, c := range e.Chains {
		lines = append(lines, fmt.Sprintf("delete chain ip %s %s", c.Table, c.Name))
	}
	if e.Table {
		lines = append(lines, "delete table ip "+ExistingTable)
	}
	return lines
}

// Translators are who translates pods' addresses on a host.
type Translators struct {
	Ours   bool // our table does
	Theirs bool // the rules of the Amazon VPC CNI do
}
