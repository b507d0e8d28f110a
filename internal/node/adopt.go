package node

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node/checkpoint"
	"github.com/berth-net/berth/internal/run"
)

// saveEvery is how often the file for the way back is written at most.
const saveEvery = time.Second

// legacy is what the loop keeps about the Amazon VPC CNI's file.
type legacy struct {
	changed bool // pods came or went since it was last handed over
	savedAt time.Time
	trouble string // what of it could not be believed at the start
}

// notingJournal notes that pods come or go: whatever the journal learns, the file for the way back must learn.
type notingJournal struct {
	Journal
	changed *bool
}

// Append implements Journal.
func (j notingJournal) Append(records []pool.Record) func() error {
	for _, r := range records {
		*j.changed = *j.changed || r.Pod != nil || r.Freed != nil
	}
	return j.Journal.Append(records)
}

// adopt takes pods over from the Amazon VPC CNI, or from a run of ours whose journal is lost, into a state that has the
// journal's. It returns the records that say so.
func (n *Node) adopt(st *pool.State, s started, now time.Time) (checkpoint.Verdict, []pool.Record) {
	journal := st.Allocations()
	n.legacy.changed = true
	v := checkpoint.Judge(s.found, journal, len(s.records) == 0 || s.damage != "", checkpoint.Kernel{Seen: s.seen, Links: s.links})
	if !v.Taken {
		return v, nil
	}
	had := make(map[pool.Key]netip.Addr, len(journal))
	for _, a := range journal {
		had[a.Pod.Key] = a.Addr
	}
	var records []pool.Record
	for _, k := range v.Drop {
		records = append(records, pool.Record{Freed: &pool.FreedRecord{Key: k, Addr: had[k], At: now, Until: now.Add(n.cfg.IPAM.Cooldown)}})
	}
	for _, a := range v.Adopt {
		records = append(records, pool.Record{Pod: &pool.PodRecord{Pod: a.Pod, Addr: a.Addr, ENI: interfaceOf(st, a.Addr), At: a.At}})
	}
	st.Restore(records)
	n.sayAdopted(s.found, v)
	return v, records
}

// interfaceOf is the interface that the journal has an address on, empty until EC2 says.
func interfaceOf(st *pool.State, addr netip.Addr) vpc.ENIID {
	for _, e := range st.ENIs() {
		if e.Addresses[addr] != nil {
			return e.ID
		}
	}
	return ""
}

func (n *Node) sayAdopted(f checkpoint.Found, v checkpoint.Verdict) {
	n.log.Info("pods taken over from the checkpoint", "path", f.Path, "pods", len(v.Adopt), "entries", len(f.Entries), "foreign", f.Foreign)
	held := make(map[netip.Addr]bool)
	for _, r := range v.Refused {
		log := n.log.Warn
		switch {
		case r.Held:
			held[r.Addr] = true
		case r.Why == checkpoint.LinkGone:
			log = n.log.Info
		}
		log("pod of the checkpoint is not taken over", run.KeyPod, r.Name, run.KeyNamespace, r.Namespace, run.KeyIP, r.Addr, run.KeyWhy, r.Why, "held", r.Held)
	}
	switch {
	case f.Damage != "":
		n.legacy.trouble = fmt.Sprintf("%s is not believed: %s; addresses of live pods that the journal does not name are held", f.Path, f.Damage)
		n.log.Error("the checkpoint is not believed; addresses of live pods are held", "path", f.Path, run.KeyWhy, f.Damage)
	case len(held) > 0:
		n.legacy.trouble = fmt.Sprintf("%s contradicts the kernel about %d live addresses, which are held until their pods are deleted; the agent's log names them", f.Path, len(held))
	}
	if n.legacy.trouble != "" {
		n.ports.Checkpoint.KeepAside()
	}
}

// keepCheckpoint hands the pods over for the way back when they changed, at most once in saveEvery, and shortens the loop's
// sleep to when that is due.
func (n *Node) keepCheckpoint(now time.Time, wake time.Duration) time.Duration {
	if n.ports.Checkpoint == nil || !n.legacy.changed {
		return wake
	}
	if due := n.legacy.savedAt.Add(saveEvery).Sub(now); due > 0 {
		return min(wake, due)
	}
	n.legacy.savedAt = now
	n.saveCheckpoint()
	return wake
}

// saveCheckpoint hands the pods over for the way back.
func (n *Node) saveCheckpoint() {
	if n.ports.Checkpoint != nil && n.state != nil {
		n.legacy.changed = false
		n.ports.Checkpoint.Save(n.state.Allocations())
	}
}
