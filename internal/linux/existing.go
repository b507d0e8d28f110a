package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/linux/xtables"
	"github.com/berth-net/berth/internal/run"
)

// removeExisting removes what the Amazon VPC CNI left of its address translation and marks, once ours are in place. While
// both are there a packet meets two rules that say the same: the first that translates a connection decides, and both set
// the same bit of the same mark. What cannot be removed therefore does no harm, and is no error: it is said and tried again
// when nftables change.
func (h *Host) removeExisting(ctx context.Context) (changed []string) {
	if h.existing.keep {
		return nil
	}
	var err error
	if !h.existing.legacy { // those come back only when the Amazon VPC CNI runs again, and then we do not
		err = h.in(func() (err error) { changed, err = xtables.Remove(ctx, h.xtablesLock); return err })
		h.existing.legacy = err == nil
	}
	removed, errNFT := h.removeExistingNFT(ctx)
	if err = errors.Join(err, errNFT); err != nil {
		h.log.Warn("rules of the Amazon VPC CNI stay beside ours", run.KeyErr, err)
	}
	return append(changed, removed...)
}

func (h *Host) removeExistingNFT(ctx context.Context) (changed []string, err error) {
	generation, err := h.generation()
	if err != nil || h.existing.looked && generation == h.existing.generation {
		return nil, err
	}
	e, err := h.findExisting()
	if lines := e.Removal(); err == nil && len(lines) > 0 {
		if err = h.runNFT(ctx, strings.Join(lines, "\n")+"\n"); err == nil {
			for _, l := range lines {
				changed = append(changed, "nft "+l)
			}
			generation, err = h.generation()
		}
	}
	h.existing.looked, h.existing.generation = true, generation
	return changed, err
}

// existingLook says which state of nftables was looked at last.
type existingLook struct {
	keep       bool // leave it all alone
	legacy     bool // nothing is in iptables-legacy any more
	looked     bool
	generation uint32
}

// findExisting reads what is left of the Amazon VPC CNI in nftables.
func (h *Host) findExisting() (e hostnet.Existing, err error) {
	_, err = h.filter.get(nftRequest(unix.NFT_MSG_GETTABLE, nl.NewRtAttr(unix.NFTA_TABLE_NAME, text(hostnet.ExistingTable))))
	if unlessGone(err) != nil {
		return e, fmt.Errorf("read table %s: %w", hostnet.ExistingTable, err)
	}
	e.Table = err == nil
	chains, err := listNFT(h.filter, "nftables chains", func() *nl.NetlinkRequest { return nftRequest(unix.NFT_MSG_GETCHAIN) })
	if err != nil {
		return e, err
	}
	for _, m := range chains {
		attrs, err := nftAttrs(m)
		if err != nil {
			return e, fmt.Errorf("parse chain: %w", err)
		}
		table, name := word(attrs[unix.NFTA_CHAIN_TABLE].Value), word(attrs[unix.NFTA_CHAIN_NAME].Value)
		if hostnet.IsExistingChain(name) && table != hostnet.ExistingTable {
			e.Chains = append(e.Chains, hostnet.ExistingChain{Table: table, Name: name})
		}
	}
	for _, hook := range hostnet.ExistingHooks() {
		if err := h.findExistingRules(hook[0], hook[1], &e); err != nil {
			return e, err
		}
	}
	return e, nil
}

// listRulesNFT lists the rules of a chain, as the kernel has them.
func (h *Host) listRulesNFT(table, chain string) ([][]byte, error) {
	return listNFT(h.filter, "rules of "+table+" "+chain, func() *nl.NetlinkRequest {
		return nftRequest(unix.NFT_MSG_GETRULE, nl.NewRtAttr(unix.NFTA_RULE_TABLE, text(table)), nl.NewRtAttr(unix.NFTA_RULE_CHAIN, text(chain)))
	})
}

func (h *Host) findExistingRules(table, chain string, e *hostnet.Existing) error {
	rules, err := h.listRulesNFT(table, chain)
	if err != nil {
		return err
	}
	for _, m := range rules {
		attrs, err := nftAttrs(m)
		if err != nil {
			return fmt.Errorf("parse rule of %s %s: %w", table, chain, err)
		}
		handle := attrs[unix.NFTA_RULE_HANDLE].Value
		if word(attrs[unix.NFTA_RULE_CHAIN].Value) == chain && len(handle) == 8 && hostnet.IsExistingRule(m) {
			e.Rules = append(e.Rules, hostnet.ExistingRule{Table: table, Chain: chain, Handle: binary.BigEndian.Uint64(handle)})
		}
	}
	return nil
}

// nftAttrs parses a message about an object of nftables.
func nftAttrs(m []byte) (map[uint16]syscall.NetlinkRouteAttr, error) {
	if len(m) < nl.SizeofNfgenmsg {
		return nil, fmt.Errorf("%d bytes are no message", len(m))
	}
	return nl.ParseRouteAttrAsMap(m[nl.SizeofNfgenmsg:])
}

// word is a text of netlink without the zero byte at its end.
func word(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
