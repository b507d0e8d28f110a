/* From bytes to what is judged. Nothing is taken from a packet that was not read within its own length; what cannot be read is said,
 * and the caller denies it to pods with policy. */
#pragma once
#include "maps.h"

enum fragment { WHOLE, FIRST, LATER };

enum kind {
	TRACKED,   /* has a flow */
	UNTRACKED, /* is judged by itself each time: ICMP that is neither echo nor error, an echo's reply without its request */
	ERROR,     /* ICMP that is about another packet */
};

struct packet {
	struct flow_key key;
	__u32 id; /* of the datagram, when a fragment */
	__u8 kind;
	__u8 fragment;
	__u8 tcp; /* flags */
	__u8 reply;
	__u32 about; /* where the packet begins that an error is about */
};

/* What a parser says. Above PASSES: 1 + a reason. */
enum { JUDGED = 0, PASSES = -1 };
INLINE int unreadable(enum reason reason)
{
	return 1 + reason;
}

INLINE void map_ipv4(struct addr *to, __be32 addr)
{
	to->word[0] = 0;
	to->word[1] = 0;
	to->word[2] = htonl(0xffff);
	to->word[3] = addr;
}

/* A packet of IPv6 with an address that stands for one of IPv4 is no valid one, and would be taken for the other's. */
INLINE int is_mapped(const __be32 *word)
{
	return !word[0] && !word[1] && word[2] == htonl(0xffff);
}

/* parse_plain is the way of nearly all packets: TCP and UDP, not fragmented, without options, headers in the linear part. */
INLINE int parse_plain(struct __sk_buff *skb, struct packet *p, const enum direction direction)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct tcp *tcp;

	if (skb->protocol == htons(ETH_P_IP)) {
		const struct ipv4 *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) + 8 > end || ip->version_length != 0x45 || ip->fragment & htons(0x3fff))
			return 0;
		map_ipv4(&p->key.remote, direction == INGRESS ? ip->src : ip->dst);
		p->key.protocol = ip->protocol;
		tcp = (void *)(ip + 1);
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		const struct ipv6 *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) + 8 > end || *(__u8 *)ip >> 4 != 6 || is_mapped(ip->src) || is_mapped(ip->dst))
			return 0;
		__builtin_memcpy(&p->key.remote, direction == INGRESS ? ip->src : ip->dst, sizeof(struct addr));
		p->key.protocol = ip->next;
		tcp = (void *)(ip + 1);
	} else {
		return 0;
	}
	if (p->key.protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return 0;
		p->tcp = tcp->flags;
	} else if (p->key.protocol != IPPROTO_UDP) {
		return 0;
	}
	p->key.remote_port = direction == INGRESS ? tcp->sport : tcp->dport;
	p->key.pod_port = direction == INGRESS ? tcp->dport : tcp->sport;
	return 1;
}

/* What a packet's headers say. */
struct headers {
	struct addr src;
	struct addr dst;
	__u32 transport; /* offset of what follows the IP headers */
	__u32 end;       /* of the packet by its own length */
	__u32 id;
	__u8 protocol;
	__u8 hops;
	__u8 fragment;
	__u8 unused;
};

INLINE int read_ipv4(struct __sk_buff *skb, struct headers *h, __u32 offset)
{
	struct ipv4 ip;

	if (skb_load_bytes(skb, offset, &ip, sizeof(ip)) || ip.version_length >> 4 != 4 || (ip.version_length & 15) < 5)
		return unreadable(MALFORMED);
	map_ipv4(&h->src, ip.src);
	map_ipv4(&h->dst, ip.dst);
	h->transport = offset + (ip.version_length & 15) * 4;
	h->end = ip.total ? offset + ntohs(ip.total) : ~0u; /* above 64 KiB the kernel says 0 */
	h->id = ip.id;
	h->protocol = ip.protocol;
	h->hops = ip.ttl;
	if (ip.fragment & htons(0x1fff))
		h->fragment = LATER;
	else if (ip.fragment & htons(0x2000))
		h->fragment = FIRST;
	return JUDGED;
}

enum { MAX_EXTENSIONS = 8, LAST_ASSIGNED = 145 };

/* skip_extensions walks to the transport's header, or to the fragment header of a later fragment. */
INLINE int skip_extensions(struct __sk_buff *skb, struct headers *h)
{
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		__u8 x[8]; /* every extension has as much */
		__u8 next = h->protocol;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
		case IPPROTO_HIP:
		case IPPROTO_SHIM6:
		case IPPROTO_AH:
		case IPPROTO_FRAGMENT:
			break;
		default:
			/* Numbers that nobody has assigned may be extensions with a header behind them. */
			return next > LAST_ASSIGNED ? unreadable(EXTENSIONS) : JUDGED;
		}
		if (i == MAX_EXTENSIONS)
			return unreadable(EXTENSIONS);
		if (skb_load_bytes(skb, h->transport, x, sizeof(x)))
			return unreadable(h->fragment == FIRST ? SHORT_FRAGMENT : MALFORMED);
		h->protocol = x[0];
		if (next == IPPROTO_FRAGMENT) {
			__u32 place = (__u32)x[2] << 8 | x[3];
			if (h->fragment != WHOLE)
				return unreadable(MALFORMED); /* fragments of fragments */
			__builtin_memcpy(&h->id, x + 4, 4);
			h->transport += 8;
			if (place & 0xfff8) {
				h->fragment = LATER;
				return JUDGED;
			}
			h->fragment = place & 1 ? FIRST : WHOLE;
		} else if (next == IPPROTO_AH) {
			h->transport += ((__u32)x[1] + 2) * 4;
		} else {
			h->transport += ((__u32)x[1] + 1) * 8;
		}
	}
	return unreadable(EXTENSIONS);
}

INLINE int read_ipv6(struct __sk_buff *skb, struct headers *h, __u32 offset)
{
	struct ipv6 ip;

	if (skb_load_bytes(skb, offset, &ip, sizeof(ip)) || *(__u8 *)&ip >> 4 != 6 || is_mapped(ip.src) || is_mapped(ip.dst))
		return unreadable(MALFORMED);
	__builtin_memcpy(&h->src, ip.src, sizeof(h->src));
	__builtin_memcpy(&h->dst, ip.dst, sizeof(h->dst));
	h->transport = offset + sizeof(ip);
	h->end = ip.payload ? h->transport + ntohs(ip.payload) : ~0u; /* above 64 KiB the kernel says 0 */
	h->protocol = ip.next;
	h->hops = ip.hops;
	return skip_extensions(skb, h);
}

INLINE int is_error(__u8 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMP)
		return type == 3 || type == 4 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

/* read_icmp: an echo's flow is known by its id and by who asks. */
INLINE void read_icmp(const struct headers *h, const __u8 *x, struct packet *p, __u32 direction)
{
	__u8 type = x[0], v6 = h->protocol == IPPROTO_ICMPV6;

	if (is_error(h->protocol, type)) {
		p->kind = ERROR;
		p->about = h->transport + 8;
	} else if (type == (v6 ? 128 : 8) || type == (v6 ? 129 : 0)) {
		p->reply = type == (v6 ? 129 : 0);
		__builtin_memcpy(&p->key.remote_port, x + 4, 2);
		p->key.pod_port = direction ^ p->reply;
	} else {
		p->kind = UNTRACKED;
	}
}

enum { OUTER = 0, EMBEDDED = 1 };

/* read_transport reads ports. Of a packet within an ICMP error only eight bytes need to be there. */
INLINE int read_transport(struct __sk_buff *skb, const struct headers *h, struct packet *p, __u32 direction, __u32 embedded)
{
	struct tcp t = {};
	__u32 need = 0;
	__u8 icmp = h->protocol == IPPROTO_ICMP || h->protocol == IPPROTO_ICMPV6;
	long failed;

	switch (h->protocol) {
	case IPPROTO_TCP:
		need = sizeof(t);
		break;
	case IPPROTO_SCTP:
		need = 12;
		break;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		need = 8;
		break;
	default:
		return JUDGED; /* no ports */
	}
	if (embedded || need == 8)
		failed = skb_load_bytes(skb, h->transport, &t, 8);
	else if (need == 12)
		failed = skb_load_bytes(skb, h->transport, &t, 12);
	else
		failed = skb_load_bytes(skb, h->transport, &t, sizeof(t));
	if (failed || (!embedded && h->transport + need > h->end))
		return unreadable(h->fragment == FIRST ? SHORT_FRAGMENT : MALFORMED);
	if (icmp) {
		read_icmp(h, (const __u8 *)&t, p, direction);
		return JUDGED;
	}
	if (h->protocol == IPPROTO_TCP)
		p->tcp = t.flags;
	p->key.remote_port = direction == INGRESS ? t.sport : t.dport;
	p->key.pod_port = direction == INGRESS ? t.dport : t.sport;
	return JUDGED;
}

/* Neighbour discovery cannot come from behind a router, which would have counted its hops down. */
INLINE int is_discovery(struct __sk_buff *skb, const struct headers *h)
{
	__u8 type;

	return h->protocol == IPPROTO_ICMPV6 && h->hops == 255 && h->fragment == WHOLE &&
	       !skb_load_bytes(skb, h->transport, &type, 1) && type >= 133 && type <= 137;
}

/* parse_any reads every packet, wherever its headers are. An offset other than that of the frame's is of a packet within an ICMP
 * error. */
NOINLINE int parse_any(struct __sk_buff *skb, struct packet *p, __u32 direction, __u32 offset)
{
	struct headers h = {};
	int said;

	if (!p)
		return unreadable(MALFORMED);
	if (skb->protocol == htons(ETH_P_IP))
		said = read_ipv4(skb, &h, offset);
	else if (skb->protocol == htons(ETH_P_IPV6))
		said = read_ipv6(skb, &h, offset);
	else
		return skb->protocol == htons(ETH_P_ARP) ? PASSES : unreadable(NON_IP);
	if (said)
		return said;
	p->kind = TRACKED;
	p->reply = 0;
	p->tcp = 0;
	p->id = h.id;
	p->fragment = h.fragment;
	p->key.protocol = h.protocol;
	p->key.remote_port = 0;
	p->key.pod_port = 0;
	p->key.remote = direction == INGRESS ? h.src : h.dst;
	if (h.fragment == LATER)
		return JUDGED;
	if (offset == ETH_HLEN && is_discovery(skb, &h))
		return PASSES;
	return read_transport(skb, &h, p, direction, offset == ETH_HLEN ? OUTER : EMBEDDED);
}
