package checkpoint

import (
	"cmp"
	"net/netip"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
)

// Found is what the file says at the start.
type Found struct {
	// Path is where it was looked for.
	Path string
	// Exists: there is a file.
	Exists bool
	// Foreign: it is not what this agent wrote last.
	Foreign bool
	Entries []Entry
	// Damage says why nothing of it can be believed, empty when all is well.
	Damage string
}

// Reason is why an entry of the file or a record of the journal is not believed.
type Reason string

// The reasons.
const (
	// LinkGone: no link of the host is named after the pod. So the other CNI judges, too.
	LinkGone Reason = "its link is gone"
	// OtherSandbox: the link of the pod's name belongs to another sandbox, or carries another address.
	OtherSandbox Reason = "the link of its name is another sandbox's"
	// Duplicate: the file names the address or the attachment more than once.
	Duplicate Reason = "the checkpoint names it more than once"
	// OtherLink: the kernel shows the address on the link of another pod.
	OtherLink Reason = "the kernel shows the address on another pod's link"
	// Unnamed: the entry lacks its pod's name, its container or an IPv4 address.
	Unnamed Reason = "the entry is not complete"
)

// Refused is an entry of the file, or a record of the journal, that is not believed. Held tells that the kernel shows its
// address all the same, so that it is given to nobody.
type Refused struct {
	Entry
	Why  Reason
	Held bool
}

// Verdict is what becomes of the pods that the file and the journal name.
type Verdict struct {
	// Taken says that the file was listened to: it is newer than the journal, or the journal is lost.
	Taken bool
	// Adopt are pods of the file that the journal does not have so.
	Adopt []pool.Allocation
	// Drop are pods of the journal whose address another pod has now.
	Drop []pool.Key
	// Live are addresses of adopted pods whose link is there though the kernel does not show the address: their routes are
	// to be repaired, not their pods ended.
	Live    []netip.Addr
	Refused []Refused
}

// Kernel is what the kernel shows of pods.
type Kernel struct {
	Seen  []hostnet.Seen
	Links []hostnet.Link
}

// Judge says which pods of the file are pods of this node. journal are those of the journal, lost tells that it is
// missing or damaged. An intact journal wins against a file that this agent wrote.
func Judge(f Found, journal []pool.Allocation, lost bool, k Kernel) Verdict {
	v := Verdict{Taken: f.Exists && (f.Foreign || lost)}
	if !v.Taken {
		return v
	}
	e := newEvidence(k)
	known := make(map[pool.Key]netip.Addr, len(journal))
	for _, a := range journal {
		known[a.Pod.Key] = a.Addr
	}
	addrs, keys := counts(f.Entries)
	for _, entry := range f.Entries {
		why := e.against(entry)
		if addrs[entry.Addr] > 1 || keys[entry.Key] > 1 {
			why = Duplicate
		}
		if why != "" {
			v.Refused = append(v.Refused, Refused{entry, why, e.shown[entry.Addr] != ""})
			continue
		}
		if e.shown[entry.Addr] == "" {
			v.Live = append(v.Live, entry.Addr)
		}
		if known[entry.Key] != entry.Addr {
			v.Adopt = append(v.Adopt, pool.Allocation{
				Pod: pool.Pod{Key: entry.Key, Namespace: entry.Namespace, Name: entry.Name}, Addr: entry.Addr, At: entry.At,
			})
		}
	}
	v.dropJournal(journal, e)
	return v
}

// dropJournal drops records of the journal that the kernel contradicts: the other CNI gave their addresses to other pods.
// Those of which the kernel shows nothing end as at any start; those that it confirms stay.
func (v *Verdict) dropJournal(journal []pool.Allocation, e evidence) {
	taken := make(map[netip.Addr]bool, len(v.Adopt))
	for _, a := range v.Adopt {
		taken[a.Addr] = true
	}
	for _, a := range journal {
		entry := Entry{Key: a.Pod.Key, Namespace: a.Pod.Namespace, Name: a.Pod.Name, Addr: a.Addr, At: a.At}
		if taken[a.Addr] || e.shown[a.Addr] == "" {
			continue // replaced by the adopted pod, or ended by who sees that nothing of it is left
		}
		if why := e.against(entry); why != "" {
			v.Drop = append(v.Drop, a.Pod.Key)
			v.Refused = append(v.Refused, Refused{entry, why, true})
		}
	}
}

func counts(entries []Entry) (addrs map[netip.Addr]int, keys map[pool.Key]int) {
	addrs, keys = make(map[netip.Addr]int), make(map[pool.Key]int)
	for _, e := range entries {
		addrs[e.Addr]++
		keys[e.Key]++
	}
	return addrs, keys
}

// evidence is what the kernel shows, by what is looked for.
type evidence struct {
	shown    map[netip.Addr]string   // the live link that an address is on
	carries  map[string][]netip.Addr // the addresses of a live link
	bySuffix map[string]hostnet.Link
}

func newEvidence(k Kernel) evidence {
	e := evidence{shown: map[netip.Addr]string{}, carries: map[string][]netip.Addr{}, bySuffix: map[string]hostnet.Link{}}
	for _, l := range k.Links {
		e.bySuffix[suffix(l.Name)] = l
	}
	for _, s := range k.Seen {
		if !s.Live {
			continue
		}
		e.shown[s.Addr] = s.Veth
		e.carries[s.Veth] = append(e.carries[s.Veth], s.Addr)
		e.bySuffix[suffix(s.Veth)] = hostnet.Link{Name: s.Veth, Alias: s.Alias}
	}
	return e
}

// hashLen is how much of the name of a pod's link comes from the pod; the rest is a prefix that the operator chose, perhaps
// another one than today's.
var hashLen = len(hostnet.VethName("", "", ""))

func suffix(link string) string { return link[max(0, len(link)-hashLen):] }

// against says what speaks against an entry, nothing when its pod lives.
func (e evidence) against(entry Entry) Reason {
	if entry.Name == "" || entry.Key.ContainerID == "" || entry.Key.IfName == "" || !entry.Addr.Is4() {
		return Unnamed
	}
	link, ok := e.bySuffix[hostnet.VethName("", entry.Namespace, entry.Name)]
	on := e.shown[entry.Addr]
	switch {
	case !ok:
		return cmp.Or(map[bool]Reason{true: OtherLink}[on != ""], LinkGone)
	case link.Alias != "" && link.Alias != hostnet.Alias(hostnet.PodKey(entry.Key)):
		return OtherSandbox
	case on == link.Name:
		return ""
	case on != "":
		return OtherLink
	case len(e.carries[link.Name]) > 0:
		return OtherSandbox
	}
	return ""
}
