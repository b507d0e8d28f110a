/* What the programs use of the kernel's interface: types, numbers of helpers and maps, headers of packets. These are stable; they
 * are written down here so that an object depends on the compiler's version alone and not on which headers a machine has.
 * Numbers: include/uapi/linux/bpf.h, if_ether.h, in.h, pkt_cls.h. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;

/* The context of a tc program, as far as it is read. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 unread[15]; /* from napi_id to data_meta */
	__u64 flow_keys __attribute__((aligned(8)));
	__u64 tstamp __attribute__((aligned(8)));
	__u32 wire_len;
	__u32 gso_segs;
	void *sk __attribute__((aligned(8)));
};

_Static_assert(__builtin_offsetof(struct __sk_buff, sk) == 168, "sk is where the kernel has it");

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_MMAPABLE = 1 << 10,
};

enum {
	TC_ACT_UNSPEC = -1, /* the next program, if any, is asked; TCX_NEXT */
	TC_ACT_SHOT = 2,
};

enum {
	ETH_P_IP = 0x0800,
	ETH_P_ARP = 0x0806,
	ETH_P_IPV6 = 0x86dd,
	ETH_HLEN = 14,
};

enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_DSTOPTS = 60,
	IPPROTO_SCTP = 132,
	IPPROTO_MH = 135,
	IPPROTO_HIP = 139,
	IPPROTO_SHIM6 = 140,
};

struct ipv4 {
	__u8 version_length; /* length in words */
	__u8 tos;
	__be16 total;
	__be16 id;
	__be16 fragment; /* flags and offset */
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 src;
	__be32 dst;
};

struct ipv6 {
	__be32 version_flow;
	__be16 payload;
	__u8 next;
	__u8 hops;
	__be32 src[4];
	__be32 dst[4];
};

/* The first bytes of TCP, and of what has ports. */
struct tcp {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

enum {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
};

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

/* How a map's properties are written into the object's BTF. */
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, type) typeof(type) *name

#define htons(x) ((__be16)__builtin_bswap16(x))
#define ntohs(x) __builtin_bswap16(x)
#define htonl(x) ((__be32)__builtin_bswap32(x))
#define read_once(x) (*(const volatile typeof(x) *)&(x))
#define write_once(x, value) (*(volatile typeof(x) *)&(x) = (value))

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static __u64 (*const ktime_get_ns)(void) = (void *)5;
static long (*const skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static void *(*const ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*const ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static void (*const ringbuf_discard)(void *data, __u64 flags) = (void *)133;
static __u64 (*const ktime_get_coarse_ns)(void) = (void *)160;

/* full_barrier orders loads before it with loads after it: an atomic operation with a result is the only one that eBPF has on
 * every kernel that we support. */
INLINE void full_barrier(void)
{
	volatile __u64 nothing = 0;
	__u64 was = __sync_fetch_and_add(&nothing, 1);
	asm volatile("" : : "r"(was));
}
