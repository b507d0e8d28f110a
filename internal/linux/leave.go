package linux

import (
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/linux/xtables"
)

// Translators looks for who translates pods' addresses now. The Amazon VPC CNI makes its chain first and the rule that
// translates last: without that rule the chain does nothing yet.
func (h *Host) Translators() (t hostnet.Translators, err error) {
	_, err = h.filter.get(nftRequest(unix.NFT_MSG_GETCHAIN,
		nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, text(hostnet.TableName)), nl.NewRtAttr(unix.NFTA_CHAIN_NAME, text(hostnet.ChainTranslate))))
	if unlessGone(err) != nil {
		return t, fmt.Errorf("read table %s: %w", hostnet.TableName, err)
	}
	t.Ours = err == nil
	e, err := h.findExisting()
	if err != nil {
		return t, err
	}
	for _, c := range e.Chains {
		if !hostnet.IsExistingSNAT(c.Name) {
			continue
		}
		rules, err := h.listRulesNFT(c.Table, c.Name)
		if err != nil {
			return t, err
		}
		if slices.ContainsFunc(rules, hostnet.Translates) {
			t.Theirs = true
			return t, nil
		}
	}
	err = h.in(func() (err error) { t.Theirs, err = xtables.Translates(); return err })
	return t, err
}

// RemoveTable removes our nftables table, after the last agent of ours on a host.
func (h *Host) RemoveTable(ctx context.Context) error { return h.deleteTable(ctx) }
