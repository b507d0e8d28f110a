package linux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// appliedTable is what Reconcile last put into the kernel and how the kernel shows it, so that looking again costs one
// small request while nothing in nftables changes, a few while others' tables do, and never a process.
type appliedTable struct {
	mu         sync.Mutex
	table      *hostnet.Table // nil: nothing was applied by this process
	digest     [sha256.Size]byte
	generation uint32 // of the kernel's whole rule set, when the digest was last compared
}

// transaction is the text that replaces our table. Adding it first makes the deletion succeed when there was none.
func transaction(t *hostnet.Table) string {
	tx := knftables.NewFake(knftables.IPv4Family, t.Name).NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	for _, s := range t.Sets {
		tx.Add(&knftables.Set{Name: s.Name, Type: "ipv4_addr", Flags: []knftables.SetFlag{knftables.IntervalFlag}})
		for _, p := range s.Prefixes {
			tx.Add(&knftables.Element{Set: s.Name, Key: []string{p.String()}})
		}
	}
	for _, c := range t.Chains {
		chain := &knftables.Chain{Name: c.Name}
		if c.Hook != "" {
			chain.Type = new(knftables.BaseChainType(c.Type))
			chain.Hook = new(knftables.BaseChainHook(c.Hook))
			chain.Priority = new(knftables.BaseChainPriority(c.Priority))
		}
		tx.Add(chain)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: r})
		}
	}
	return tx.String()
}

// runNFT gives nft a script. nft applies it whole or not at all.
func (h *Host) runNFT(ctx context.Context, script string) error {
	return h.in(func() error {
		cmd := exec.CommandContext(ctx, h.nft, "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("run nft: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

func (h *Host) replaceTable(ctx context.Context, t *hostnet.Table) error {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	h.table.table = nil
	if err := h.runNFT(ctx, transaction(t)); err != nil {
		return err
	}
	digest, exists, err := h.digest(t)
	if err != nil {
		return err
	}
	if exists {
		h.table.table, h.table.digest = t, digest
		h.table.generation = 0
	}
	return nil
}

func (h *Host) deleteTable(ctx context.Context) error {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	h.table.table = nil
	return h.runNFT(ctx, fmt.Sprintf("add table ip %s\ndelete table ip %s\n", hostnet.TableName, hostnet.TableName))
}

// currentTable is our table as it is: what was applied, nil when there is none, or something unequal to all that is wanted.
func (h *Host) currentTable() (*hostnet.Table, error) {
	h.table.mu.Lock()
	defer h.table.mu.Unlock()
	applied := h.table.table
	generation, err := h.generation()
	if err != nil {
		return nil, err
	}
	if applied != nil && h.table.generation == generation {
		return applied, nil
	}
	digest, exists, err := h.digest(applied)
	switch {
	case err != nil:
		return nil, err
	case !exists:
		h.table.table = nil
		return nil, nil //nolint:nilnil // nil is the value of a machine without a table
	case applied != nil && digest == h.table.digest:
		h.table.generation = generation
		return applied, nil
	default:
		return &hostnet.Table{Name: hostnet.TableName}, nil
	}
}

// tableIntact tells whether what was applied is still there.
func (h *Host) tableIntact() (bool, error) {
	h.table.mu.Lock()
	applied := h.table.table
	h.table.mu.Unlock()
	if applied == nil {
		return true, nil
	}
	now, err := h.currentTable()
	return now == applied, err
}

// nftRequest is a request about our table. unit is nfnetlink's header: family, version, resource.
func nftRequest(message int, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|message, 0)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_IPV4, Version: nl.NFNETLINK_V0})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// generation counts the transactions of the whole namespace.
func (h *Host) generation() (uint32, error) {
	data, err := h.filter.get(nftRequest(unix.NFT_MSG_GETGEN))
	if err != nil {
		return 0, fmt.Errorf("read nftables generation: %w", err)
	}
	attrs, err := nl.ParseRouteAttrAsMap(data[nl.SizeofNfgenmsg:])
	if err != nil || len(attrs[unix.NFTA_GEN_ID].Value) < 4 {
		return 0, errors.Join(errors.New("parse nftables generation"), err)
	}
	v := attrs[unix.NFTA_GEN_ID].Value
	return uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3]), nil
}

// digest hashes our table as the kernel prints it: the table with its count of objects, chains, rules, sets and elements.
// Handles are part of it: a table that somebody else wrote anew differs, whatever its text.
func (h *Host) digest(t *hostnet.Table) (sum [sha256.Size]byte, exists bool, err error) {
	hash := sha256.New()
	add := func(msgs ...[]byte) {
		for _, m := range msgs {
			if len(m) > nl.SizeofNfgenmsg {
				hash.Write(m[nl.SizeofNfgenmsg:]) // the header holds the generation
			}
		}
	}
	data, err := h.filter.get(nftRequest(unix.NFT_MSG_GETTABLE, nl.NewRtAttr(unix.NFTA_TABLE_NAME, text(hostnet.TableName))))
	if err != nil || t == nil {
		return sum, err == nil, unlessGone(err)
	}
	add(data)
	for _, c := range t.Chains {
		data, err := h.filter.get(nftRequest(unix.NFT_MSG_GETCHAIN,
			nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, text(t.Name)), nl.NewRtAttr(unix.NFTA_CHAIN_NAME, text(c.Name))))
		if unlessGone(err) != nil {
			return sum, false, fmt.Errorf("read chain %s: %w", c.Name, err)
		}
		add(data)
	}
	rules, err := listNFT(h.filter, "nftables rules", func() *nl.NetlinkRequest {
		return nftRequest(unix.NFT_MSG_GETRULE, nl.NewRtAttr(unix.NFTA_RULE_TABLE, text(t.Name)))
	})
	if err != nil {
		return sum, false, err
	}
	add(rules...)
	for _, s := range t.Sets {
		elements, err := listNFT(h.filter, "elements of set "+s.Name, func() *nl.NetlinkRequest {
			return nftRequest(unix.NFT_MSG_GETSETELEM,
				nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, text(t.Name)), nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, text(s.Name)))
		})
		if err != nil {
			return sum, false, err
		}
		add(elements...)
	}
	hash.Sum(sum[:0])
	return sum, true, nil
}
