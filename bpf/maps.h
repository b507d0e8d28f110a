/* The maps: one set for the node, shared by both programs. internal/bpf sizes, pins and fills them; bpf.go there mirrors the
 * structures. A change of any of them is a new schema: count up Schema in internal/bpf. */
#pragma once
#include "kernel.h"

enum direction { INGRESS, EGRESS }; /* seen from the pod */

/* An address of either family; IPv4 as ::ffff:a.b.c.d. Network order. */
struct addr {
	__be32 word[4];
};

/* settings: what holds for all interfaces. */
enum {
	KEEP_ESTABLISHED = 1 << 0, /* a change of policy leaves flows alone */
	PASS_NON_IP = 1 << 1,      /* frames that are neither IP nor ARP pass policed pods */
	EVENTS_DENIED = 1 << 2,    /* what is denied goes to the ring buffer */
	EVENTS_ALLOWED = 1 << 3,   /* so do first packets that are allowed */
	JUDGE_NODE = 1 << 4,       /* what others send by the node's address is judged like any other, not let in as the node's */
};

/* Times are in units of 2^30 ns. */
struct config {
	__u32 epoch;
	__u32 flags;
	__u32 tcp_opening, tcp_established, tcp_closing;
	__u32 udp_first, udp_replied;
	__u32 sctp;
	__u32 fragment;
	__u32 listening; /* until when answers of DNS are held; 0: nobody wants to know them */
	__u32 unused[6];
};

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(max_entries, 1);
	TYPE(key, __u32);
	TYPE(value, struct config);
} settings SEC(".maps");

/* interfaces: the slot of each host side of a pod's veth pair. An entry is there before its programs are attached and goes after
 * them. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 1024);
	TYPE(key, __u32);
	TYPE(value, __u32);
} interfaces SEC(".maps");

/* slots: the interface of each slot and its pod's addresses, for what is judged elsewhere than there. An interface of 0: none. */
struct slot {
	__u32 ifindex;
	struct addr addr[2]; /* of IPv4, of IPv6; zero: none */
};

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1024);
	TYPE(key, __u32);
	TYPE(value, struct slot);
} slots SEC(".maps");

/* services: addresses that this node translates or has itself. What pods send there is judged where it leaves, by the address that it
 * has by then. */
enum { OF_SERVICE = 1, OF_NODE = 2 };

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 16384);
	TYPE(key, struct addr);
	TYPE(value, __u32);
} services SEC(".maps");

/* The bits of a packet's mark that say, inside the node, whose packet is to be judged where it leaves: 1 + slot. */
enum { MARK_SHIFT = 20, MARK_SLOT = 0x7ff };
#define MARK_BITS ((__u32)MARK_SLOT << MARK_SHIFT)

/* pods: by slot, the sets of both directions in one word that userspace stores at once: ingress in the lower half. */
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(max_entries, 1024);
	TYPE(key, __u32);
	TYPE(value, __u64);
} pods SEC(".maps");

/* peers: address -> class, with a tag made of the address. The kernel reuses an element that was deleted or replaced at once, so a
 * program that was interrupted between look-up and read may read another address's: the tag tells. */
struct peer {
	__u32 class;
	__u32 tag;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 131072);
	TYPE(key, struct addr);
	TYPE(value, __u64);
} peers SEC(".maps");

/* blocks: prefix -> block. */
struct prefix4 {
	__u32 bits;
	__be32 addr;
};

struct prefix6 {
	__u32 bits;
	struct addr addr;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 65536);
	TYPE(key, struct prefix4);
	TYPE(value, __u32);
} blocks4 SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 65536);
	TYPE(key, struct prefix6);
	TYPE(value, __u32);
} blocks6 SEC(".maps");

/* rows: where the ranges are of what a set says to a class or block. */
enum { SET_ISOLATES = 1u << 31, SET_HAS_BLOCKS = 1u << 30, SET_STRICT = 1u << 29 };

struct row_key {
	__u32 set;
	__u32 of_block;
	__u32 id;
};

struct row {
	__u32 first;
	__u32 count;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 16384);
	TYPE(key, struct row_key);
	TYPE(value, struct row);
} rows SEC(".maps");

/* ranges: the tiers' words for keys from first to last. A word's rank has its action in the lowest two bits; 0 is silent. */
enum { ACCEPT = 1, DENY = 2, PASS = 3 };
enum { ADMIN, NETWORK, BASELINE, TIERS };
enum { MAX_RANGES_BITS = 12 };

struct word {
	__u32 rank;
	__u32 rule;
};

struct range {
	__u32 first;
	__u32 last;
	struct word word[TIERS];
};

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(max_entries, 16384);
	TYPE(key, __u32);
	TYPE(value, struct range);
} ranges SEC(".maps");

/* flows: what passed, by the pod's view, so that both directions of a flow find the same entry. */
struct flow_key {
	__u32 ifindex;
	struct addr remote;
	__be16 remote_port; /* of an ICMP echo: its id */
	__be16 pod_port;    /* of an ICMP echo: the direction of the request */
	__u8 protocol;
	__u8 unused[3];
};

enum {
	FLOW_REPLIED = 1 << 0,
	FLOW_FIN_OF_INITIATOR = 1 << 1,
	FLOW_FIN_OF_OTHER = 1 << 2,
	FLOW_RESET = 1 << 3,
};

enum service {
	DIRECT,   /* nobody translates it, as far as is known */
	DEFERRED, /* to a service: unjudged here, so that answers are known */
	THROUGH,  /* through a service: judged where it left, answers do not come by this address */
	VEILED,   /* from a pod of this node, by the node's address */
};

struct flow {
	__u32 set; /* of the initiator's direction, when the flow was last evaluated */
	__u32 epoch;
	__u32 seen;     /* last packet, in units of 2^30 ns */
	__u8 initiator; /* direction of the first packet */
	__u8 host;      /* begun by the node itself: no policy keeps it */
	__u8 state;
	__u8 service; /* of enum service */
};

struct {
	NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	NUMBER(max_entries, 131072);
	TYPE(key, struct flow_key);
	TYPE(value, struct flow);
} flows SEC(".maps");

/* frags: datagrams whose first fragment passed; the value is when. */
struct frag_key {
	__u32 ifindex;
	struct addr remote;
	__u32 id;
	__u8 protocol;
	__u8 way;
	__u8 unused[2];
};

struct {
	NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	NUMBER(max_entries, 2048);
	TYPE(key, struct frag_key);
	TYPE(value, __u32);
} frags SEC(".maps");

/* Who has decided; as By of core/policy/tables, then what the datapath adds. */
enum by { BY_DEFAULT, BY_ADMIN, BY_NETWORK, BY_ISOLATION, BY_BASELINE, BY_HOST, BY_FAULT };

/* counts: first packets of flows that were allowed and packets that were denied, by interface, rule and who decided. */
struct count_key {
	__u32 ifindex;
	__u32 rule;
	__u8 direction;
	__u8 by;
	__u8 allowed;
	__u8 unused;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, 8192);
	TYPE(key, struct count_key);
	TYPE(value, struct count);
} counts SEC(".maps");

/* reasons: packets by what is remarkable about them. internal/bpf has their names. */
enum reason {
	NON_IP,            /* dropped: neither IP nor ARP */
	MALFORMED,         /* dropped: not what its protocol number says, or a header that cannot be read */
	EXTENSIONS,        /* dropped: too many extension headers of IPv6, or an unknown one */
	SHORT_FRAGMENT,    /* dropped: a first fragment without the whole header */
	ORPHAN_FRAGMENT,   /* dropped: a later fragment of a datagram whose first was not seen to pass */
	UNKNOWN_INTERFACE, /* dropped: no slot for the interface */
	FLOW_NOT_KEPT,     /* dropped: allowed, but the flow could not be recorded */
	TABLES_BROKEN,     /* dropped: a row points outside the ranges */
	MIDSTREAM,         /* judged as new: TCP within a connection that is not known, evicted or older than us */
	REEVALUATED,       /* a flow was asked again after a change */
	CUT,               /* dropped: of a flow that a change of policy denies */
	ICMP_OF_FLOW,      /* passed: an ICMP error about a known flow */
	EVENT_LOST,        /* the ring buffer was full */
	COUNT_LOST,        /* the map of counts was full */
	ANSWER_HELD,       /* an answer of DNS waits for the agent, which sends it on */
	ANSWER_UNREAD,     /* passed: an answer of DNS that could not be read: too long, in fragments, or the ring buffer was full */
	REASONS
};

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, REASONS);
	TYPE(key, enum reason);
	TYPE(value, __u64);
} reasons SEC(".maps");

/* events: the flow log. Its reader in internal/bpf knows where each member is. */
struct event {
	__u64 time; /* of the monotonic clock, in ns */
	struct addr pod;
	struct addr remote;
	__u32 ifindex;
	__u32 set;
	__u32 rule;
	__be16 pod_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 direction; /* of the packet */
	__u8 initiator; /* direction that was asked */
	__u8 allowed;
	__u8 by;
	__u8 reason; /* with BY_FAULT */
	__u8 unused[2];
};

_Static_assert(sizeof(struct event) == 64, "internal/bpf/events.go reads events of 64 bytes");

struct {
	NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	NUMBER(max_entries, 131072);
} events SEC(".maps");

/* answers: what DNS has answered pods whose egress is judged. The frame follows, from its Ethernet header on. Its reader in internal/bpf
 * knows where each member is. */
struct answer {
	__u64 time; /* of the monotonic clock, in ns */
	__u32 ifindex;
	__u16 length; /* of the frame */
	__u8 held;    /* dropped here: the reader sends it on */
	__u8 unused;
};

_Static_assert(sizeof(struct answer) == 16, "internal/bpf/answers.go reads frames behind 16 bytes");

/* Nearly all answers are short; without that the buffer would hold a few only. */
enum { ANSWER_SHORT = 496, ANSWER_LONG = 1520, DNS_PORT = 53 };

struct {
	NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	NUMBER(max_entries, 32768);
} answers SEC(".maps");
