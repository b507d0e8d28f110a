/* The programs of a node. Each interface of a pod has two: ingress judges what the node sends into it, egress what comes out. Every
 * other way out of the node has the third, which judges what went to a service's address when it left its pod.
 * What passes goes on to the next program of the chain; what does not is dropped without an answer. */
#include "verdict.h"
#include "parse.h"

/* What a packet is judged with. */
struct view {
	struct packet packet;
	__u32 set[2];
	__u32 epoch;
	__u32 now;
	__u32 flags;
	__u32 slot;
	__u32 through;      /* a pod of this node has sent it through a service */
	struct addr sender; /* that pod's address */
	__u8 way;           /* of enum way */
	__u8 plain;         /* the headers are those of nearly all packets */
	__u8 answers;       /* the packet is of a flow that the pod began */
};

enum way { TO_POD = INGRESS, FROM_POD = EGRESS, LEAVING }; /* where a packet is judged */

INLINE void count_reason(enum reason reason)
{
	__u32 key = reason;
	__u64 *n = map_lookup(&reasons, &key);

	if (n)
		*n += 1;
}

INLINE void add_count(struct __sk_buff *skb, __u32 ifindex, __u32 direction, __u64 v)
{
	struct count_key key = {.ifindex = ifindex, .rule = RULE(v), .direction = direction, .by = BY(v), .allowed = ALLOWED(v)};
	struct count *n = map_lookup(&counts, &key), one = {.packets = 1, .bytes = skb->len};

	if (n) {
		n->packets += 1;
		n->bytes += skb->len;
	} else if (map_update(&counts, &key, &one, BPF_ANY)) {
		count_reason(COUNT_LOST);
	}
}

/* pod_address reads the pod's own address, which nothing else needs. */
INLINE void pod_address(struct __sk_buff *skb, __u32 direction, struct addr *to)
{
	__be32 addr = 0;

	if (skb->protocol == htons(ETH_P_IP)) {
		skb_load_bytes(skb, ETH_HLEN + (direction == INGRESS ? 16 : 12), &addr, sizeof(addr));
		map_ipv4(to, addr);
	} else {
		skb_load_bytes(skb, ETH_HLEN + (direction == INGRESS ? 24 : 8), to, sizeof(*to));
	}
}

NOINLINE int emit(struct __sk_buff *skb, struct view *view, __u32 asked, __u64 v, __u32 reason)
{
	/* The direction of the packet is in the highest bit of asked, that of the flow in the lowest. */
	__u32 direction = asked >> 31, initiator = asked & 1;
	struct event *e;

	if (!view)
		return 0;
	e = ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_reason(EVENT_LOST);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time = ktime_get_ns();
	pod_address(skb, direction, &e->pod);
	e->remote = view->packet.key.remote;
	e->ifindex = view->packet.key.ifindex;
	e->set = view->set[initiator];
	e->rule = RULE(v);
	e->pod_port = view->packet.key.pod_port;
	e->remote_port = view->packet.key.remote_port;
	e->protocol = view->packet.key.protocol;
	e->direction = direction;
	e->initiator = initiator;
	e->allowed = ALLOWED(v);
	e->by = BY(v);
	e->reason = reason;
	ringbuf_submit(e, 0);
	return 0;
}

/* answer counts a verdict and tells the log. */
INLINE int answer(struct __sk_buff *skb, struct view *view, __u32 direction, __u32 initiator, __u64 v)
{
	add_count(skb, view->packet.key.ifindex, initiator, v);
	if (view->flags & (ALLOWED(v) ? EVENTS_ALLOWED : EVENTS_DENIED))
		emit(skb, view, direction << 31 | initiator, v, 0);
	return ALLOWED(v) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* fault denies what cannot be judged, to pods with policy in this direction. */
INLINE int fault(struct __sk_buff *skb, struct view *view, __u32 direction, enum reason reason)
{
	if (!view->set[direction])
		return TC_ACT_UNSPEC;
	count_reason(reason);
	add_count(skb, view->packet.key.ifindex, direction, verdict(0, BY_FAULT, 0));
	if (view->flags & EVENTS_DENIED)
		emit(skb, view, direction << 31 | direction, verdict(0, BY_FAULT, 0), reason);
	return TC_ACT_SHOT;
}

/* key_of is the Key of core/policy/tables: protocol and the destination's port. */
INLINE __u32 key_of(const struct flow_key *k, __u32 initiator)
{
	__u32 key = (__u32)k->protocol << 16;

	if (k->protocol != IPPROTO_TCP && k->protocol != IPPROTO_UDP && k->protocol != IPPROTO_SCTP)
		return key;
	return key | ntohs(initiator == INGRESS ? k->pod_port : k->remote_port);
}

INLINE __u32 lifetime(const struct config *s, const struct flow_key *k, const struct flow *f)
{
	switch (k->protocol) {
	case IPPROTO_TCP:
		if (f->state & FLOW_RESET || (f->state & FLOW_FIN_OF_INITIATOR && f->state & FLOW_FIN_OF_OTHER))
			return s->tcp_closing;
		return f->state & FLOW_REPLIED ? s->tcp_established : s->tcp_opening;
	case IPPROTO_SCTP:
		return s->sctp;
	}
	return f->state & FLOW_REPLIED ? s->udp_replied : s->udp_first;
}

INLINE struct flow *find_flow(const struct config *s, const struct flow_key *k, __u32 now)
{
	struct flow *f = map_lookup(&flows, k);

	return f && now - f->seen <= lifetime(s, k, f) ? f : 0;
}

INLINE int begins_connection(const struct packet *p)
{
	return p->key.protocol == IPPROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* touch notes a packet of a flow: it writes only what changes, and when at most once a second. */
INLINE void touch(struct flow *f, const struct view *view, __u32 direction)
{
	const struct packet *p = &view->packet;
	__u8 state = f->state;

	if (direction != f->initiator || p->reply)
		state |= FLOW_REPLIED;
	if (p->tcp & TCP_FIN)
		state |= direction == f->initiator ? FLOW_FIN_OF_INITIATOR : FLOW_FIN_OF_OTHER;
	if (p->tcp & TCP_RST)
		state |= FLOW_RESET;
	if (begins_connection(p))
		state = 0; /* the ports are used again */
	if (state != f->state)
		f->state = state;
	if (f->seen != view->now)
		f->seen = view->now;
}

/* remember writes a flow. A pod that has policy in either direction depends on it. */
INLINE int remember(struct view *view, const struct flow *f)
{
	if (!map_update(&flows, &view->packet.key, f, BPF_ANY))
		return 0;
	count_reason(FLOW_NOT_KEPT);
	return view->set[INGRESS] || view->set[EGRESS] ? -1 : 0;
}

INLINE void keep_fragment(struct __sk_buff *skb, struct view *view)
{
	struct packet *p = &view->packet;

	if (p->fragment == FIRST) {
		struct frag_key key = {
			.ifindex = p->key.ifindex,
			.remote = p->key.remote,
			.id = p->id,
			.protocol = skb->protocol == htons(ETH_P_IP) ? p->key.protocol : 0,
			.way = view->way,
		};
		map_update(&frags, &key, &view->now, BPF_ANY); /* when it fails, later fragments are dropped */
	}
}

INLINE int is_service(const struct addr *a)
{
	return map_lookup(&services, a) != 0;
}

INLINE int is_node(const struct addr *a)
{
	__u32 *of = map_lookup(&services, a);

	return of && *of == OF_NODE;
}

/* defer has a packet judged where it leaves. */
INLINE int defer(struct __sk_buff *skb, const struct view *view)
{
	skb->mark = (skb->mark & ~MARK_BITS) | (view->slot + 1) << MARK_SHIFT;
	return TC_ACT_UNSPEC;
}

/* judge_fragment: a later fragment has no ports, and shares the fate of its first. */
INLINE int judge_fragment(struct __sk_buff *skb, struct view *view, const struct config *s, __u32 direction)
{
	struct packet *p = &view->packet;
	struct frag_key key = {
		.ifindex = p->key.ifindex,
		.remote = p->key.remote,
		.id = p->id,
		.protocol = skb->protocol == htons(ETH_P_IP) ? p->key.protocol : 0,
		.way = view->way,
	};
	__u32 *when = map_lookup(&frags, &key);

	if (!when || view->now - *when > s->fragment)
		return fault(skb, view, direction, ORPHAN_FRAGMENT);
	return view->way == FROM_POD && is_service(&p->key.remote) ? defer(skb, view) : TC_ACT_UNSPEC;
}

/* is_current tells whether a flow was judged by what holds now. */
INLINE int is_current(const struct flow *f, const struct view *view)
{
	return f->set == view->set[f->initiator & 1] && f->epoch == view->epoch;
}

/* is_about_flow tells whether an ICMP error is about a packet of a flow that is allowed. */
NOINLINE int is_about_flow(struct __sk_buff *skb, struct view *view, __u32 direction)
{
	struct packet p = {};
	struct config *s;
	struct flow *f;
	__u32 zero = 0, initiator;

	if (!view)
		return 0;
	s = map_lookup(&settings, &zero);
	if (!s || parse_any(skb, &p, !direction, view->packet.about) != JUDGED || p.kind != TRACKED || p.fragment == LATER)
		return 0;
	p.key.ifindex = view->packet.key.ifindex;
	f = find_flow(s, &p.key, view->now);
	if (!f)
		return 0;
	initiator = f->initiator & 1;
	if (f->host || f->service == DEFERRED || s->flags & KEEP_ESTABLISHED || is_current(f, view))
		return 1;
	return ALLOWED(evaluate(view->set[initiator], &p.key.remote, key_of(&p.key, initiator)));
}

/* evaluate_remote says what a direction's set says of the other side: by its address or, behind the node's, by that of the pod that
 * sent it. What others send by the node's address counts as the node's. */
INLINE __u64 evaluate_remote(struct view *view, __u32 direction, __u32 veiled)
{
	struct packet *p = &view->packet;
	__u64 v = evaluate(view->set[direction], veiled ? &view->sender : &p->key.remote, key_of(&p->key, direction));

	if (BY(v) == BY_FAULT)
		count_reason(TABLES_BROKEN);
	else if (!ALLOWED(v) && direction == INGRESS && !veiled && !(view->flags & JUDGE_NODE) && is_node(&p->key.remote))
		v = verdict(0, BY_HOST, 1);
	return v;
}

/* own_node says whether a pod may send to its own node. NetworkPolicies never keep it from that, those of the cluster's administrator
 * may. It is judged at once: what is not translated leaves by no link. */
INLINE __u64 own_node(struct view *view)
{
	__u64 v = evaluate_remote(view, EGRESS, 0);

	return BY(v) == BY_ISOLATION || BY(v) == BY_DEFAULT ? verdict(0, BY_DEFAULT, 1) : v;
}

/* judge_again asks the initiator's direction again after a change. A flow that is denied stays known: else the other side's next packet
 * would begin a flow of its own. */
INLINE int judge_again(struct __sk_buff *skb, struct view *view, __u32 direction, const struct flow *f)
{
	__u32 initiator = f->initiator & 1;
	struct flow next = *f;
	__u64 v = verdict(0, BY_DEFAULT, 1);

	if (f->service == VEILED && !view->through) { /* an answer: the next question is asked again */
		keep_fragment(skb, view);
		return TC_ACT_UNSPEC;
	}
	full_barrier(); /* the epoch was read before what it stands for */
	count_reason(REEVALUATED);
	if (f->service != THROUGH && f->service != VEILED)
		next.service = initiator == EGRESS && is_service(&view->packet.key.remote) ? DEFERRED : DIRECT;
	if (view->flags & KEEP_ESTABLISHED) {
		/* it was allowed */
	} else if (next.service != DEFERRED) {
		v = evaluate_remote(view, initiator, f->service == VEILED);
	} else if (is_node(&view->packet.key.remote)) {
		v = own_node(view);
	}
	if (!ALLOWED(v)) {
		if (BY(v) != BY_FAULT)
			count_reason(CUT);
		return answer(skb, view, direction, initiator, v);
	}
	next.set = view->set[initiator];
	next.epoch = view->epoch;
	touch(&next, view, direction);
	if (remember(view, &next))
		return fault(skb, view, initiator, FLOW_NOT_KEPT);
	keep_fragment(skb, view);
	return next.service == DEFERRED && direction == EGRESS ? defer(skb, view) : TC_ACT_UNSPEC;
}

/* judge_new is for what belongs to no flow. */
INLINE int judge_new(struct __sk_buff *skb, struct view *view, __u32 direction, __u32 host, __u32 write)
{
	struct packet *p = &view->packet;
	struct flow f = {.set = view->set[direction], .epoch = view->epoch, .seen = view->now, .initiator = direction, .host = host};
	__u64 v = verdict(0, BY_DEFAULT, 1);

	full_barrier(); /* the epoch was read before what it stands for */
	if (view->way == LEAVING) {
		f.service = THROUGH;
		f.state = FLOW_REPLIED; /* answers pass elsewhere: it lives as long as any */
	} else if (direction == EGRESS && is_service(&p->key.remote)) {
		f.service = DEFERRED;
	} else if (view->through && (host || is_node(&p->key.remote))) {
		f.service = VEILED;
	}
	if (host && f.service != VEILED)
		v = verdict(0, BY_HOST, 1);
	else if (f.service != DEFERRED)
		v = evaluate_remote(view, direction, f.service == VEILED);
	else if (is_node(&p->key.remote))
		v = own_node(view);
	if (p->key.protocol == IPPROTO_TCP && !begins_connection(p)) {
		count_reason(MIDSTREAM);
		f.state = FLOW_REPLIED;
	}
	if (!ALLOWED(v))
		return answer(skb, view, direction, direction, v);
	if (p->kind == TRACKED && !p->reply && !(p->tcp & TCP_RST) && write && remember(view, &f)) {
		if (view->set[direction])
			return fault(skb, view, direction, FLOW_NOT_KEPT);
	}
	keep_fragment(skb, view);
	if (f.service == DEFERRED)
		return defer(skb, view);
	return answer(skb, view, direction, direction, v);
}

/* is_own tells whether a packet to a pod comes from the node itself, which no interface has brought, or from the pod, through a
 * service. A fragment that the node has cut may have forgotten its interface: one of the node's own has a socket. */
INLINE int is_own(struct __sk_buff *skb, const struct packet *p)
{
	if (skb->ingress_ifindex)
		return skb->ingress_ifindex == skb->ifindex;
	return p->fragment == WHOLE || skb->sk;
}

INLINE int judge_flow(struct __sk_buff *skb, struct view *view, const struct config *s, __u32 direction)
{
	struct packet *p = &view->packet;
	__u32 host = direction == INGRESS && is_own(skb, p), write = 1;
	struct flow *f = p->kind == TRACKED ? find_flow(s, &p->key, view->now) : 0;

	view->answers = f && (f->initiator & 1) == EGRESS;
	if (f && !(f->service == THROUGH && direction == INGRESS)) {
		if (host) {
			touch(f, view, direction);
			keep_fragment(skb, view);
			return TC_ACT_UNSPEC;
		}
		if (begins_connection(p) && (f->initiator & 1) != direction) {
			/* no answer, whatever the flow is */
		} else if (f->host && direction == INGRESS) {
			write = 0; /* forwarded, with the addresses of a flow of the node: none of it */
		} else if (f->host || is_current(f, view)) {
			touch(f, view, direction);
			keep_fragment(skb, view);
			return f->service == DEFERRED && direction == EGRESS ? defer(skb, view) : TC_ACT_UNSPEC;
		} else {
			return judge_again(skb, view, direction, f);
		}
	}
	return judge_new(skb, view, direction, host, write);
}

/* look reads what a packet of a slot is judged with. */
INLINE int look(struct view *view, const struct config *s, __u32 ifindex)
{
	__u64 *pod = map_lookup(&pods, &view->slot), sets;

	if (!s || !pod || !ifindex) {
		count_reason(UNKNOWN_INTERFACE);
		return -1;
	}
	sets = read_once(*pod);
	view->set[INGRESS] = (__u32)sets;
	view->set[EGRESS] = sets >> 32;
	view->epoch = read_once(s->epoch);
	view->flags = read_once(s->flags);
	view->now = ktime_get_coarse_ns() >> 30;
	view->packet.key.ifindex = ifindex;
	return 0;
}

enum { GOES_ON = -2 };

/* parse says what a packet is, or GOES_ON with what is judged by its flow. */
INLINE int parse(struct __sk_buff *skb, struct view *view, const struct config *s, const enum direction direction)
{
	struct packet *p = &view->packet;
	int said;

	view->plain = parse_plain(skb, p, direction);
	if (view->plain)
		return GOES_ON;
	said = parse_any(skb, p, direction, ETH_HLEN);
	if (said == PASSES || (said == unreadable(NON_IP) && view->flags & PASS_NON_IP))
		return TC_ACT_UNSPEC;
	if (said != JUDGED)
		return fault(skb, view, direction, said - 1);
	if (p->fragment == LATER)
		return judge_fragment(skb, view, s, direction);
	if (p->kind == ERROR && is_about_flow(skb, view, direction)) {
		count_reason(ICMP_OF_FLOW);
		return TC_ACT_UNSPEC;
	}
	return GOES_ON;
}

/* leave judges what was deferred: the pod of a slot has sent it, and by now it has the address where it goes. */
NOINLINE int leave(struct __sk_buff *skb, __u32 mark)
{
	struct view view = {.slot = mark - 1, .way = LEAVING};
	struct slot *slot = map_lookup(&slots, &view.slot);
	__u32 zero = 0;
	struct config *s = map_lookup(&settings, &zero);
	struct flow *f = 0;
	int said;

	if (look(&view, s, slot ? slot->ifindex : 0) || !s)
		return TC_ACT_SHOT;
	said = parse(skb, &view, s, EGRESS);
	if (said != GOES_ON)
		return said;
	if (view.packet.kind == TRACKED)
		f = find_flow(s, &view.packet.key, view.now);
	if (!f || (f->initiator & 1) == INGRESS || f->service == DEFERRED)
		return judge_new(skb, &view, EGRESS, 0, !f); /* another's flow stays as it is */
	if (!is_current(f, &view))
		return judge_again(skb, &view, EGRESS, f);
	touch(f, &view, EGRESS);
	keep_fragment(skb, &view);
	return TC_ACT_UNSPEC;
}

/* take_mark takes our bits off a packet. */
INLINE __u32 take_mark(struct __sk_buff *skb)
{
	__u32 mark = skb->mark >> MARK_SHIFT & MARK_SLOT;

	if (mark)
		skb->mark &= ~MARK_BITS;
	return mark;
}

/* unveil finds who has sent a packet that was marked, whatever address it has by now. */
INLINE void unveil(struct __sk_buff *skb, struct view *view, __u32 sender)
{
	struct slot *slot = map_lookup(&slots, &sender);

	if (!slot)
		return;
	view->through = 1;
	view->sender = skb->protocol == htons(ETH_P_IP) ? slot->addr[0] : slot->addr[1];
}

/* copy_answer gives the agent a copy of a packet that has room in a record. */
INLINE int copy_answer(struct __sk_buff *skb, __u32 held, const __u32 room)
{
	struct answer *a = ringbuf_reserve(&answers, sizeof(*a) + room, 0);
	__u32 length = skb->len;

	if (!a)
		return -1;
	a->time = ktime_get_ns();
	a->ifindex = skb->ifindex;
	a->length = length;
	a->held = held;
	a->unused = 0;
	asm volatile("" : "+r"(length)); /* the bounds are of the register that the kernel is told of */
	if (length < ETH_HLEN || length > room || skb_load_bytes(skb, 0, a + 1, length)) {
		ringbuf_discard(a, 0);
		return -1;
	}
	ringbuf_submit(a, 0);
	return 0;
}

/* take_answer gives the agent what DNS has answered a pod, before the pod sees it: the pod may dial at once what it is told. Unless the
 * agent listens the answer passes. */
NOINLINE int take_answer(struct __sk_buff *skb, __u32 readable, __u32 held)
{
	int failed = -1;

	if (readable && skb->len <= ANSWER_SHORT)
		failed = copy_answer(skb, held, ANSWER_SHORT);
	else if (readable && skb->len <= ANSWER_LONG)
		failed = copy_answer(skb, held, ANSWER_LONG);
	if (failed)
		count_reason(ANSWER_UNREAD);
	else if (held)
		count_reason(ANSWER_HELD);
	return !failed && held ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* is_answer: of a pod whose egress is not judged nobody wants to know. */
INLINE int is_answer(const struct view *view, const struct config *s)
{
	const struct flow_key *k = &view->packet.key;

	return s->listening && k->protocol == IPPROTO_UDP && k->remote_port == htons(DNS_PORT) && view->answers && view->set[EGRESS];
}

INLINE int judge(struct __sk_buff *skb, const enum direction direction, __u32 mark)
{
	struct view view = {.way = direction};
	__u32 zero = 0, ifindex = skb->ifindex, *slot;
	struct config *s = map_lookup(&settings, &zero);
	int said;

	slot = map_lookup(&interfaces, &ifindex);
	if (!slot) {
		count_reason(UNKNOWN_INTERFACE);
		return TC_ACT_SHOT;
	}
	view.slot = *slot;
	if (mark)
		unveil(skb, &view, mark - 1);
	if (look(&view, s, ifindex) || !s)
		return TC_ACT_SHOT;
	said = parse(skb, &view, s, direction);
	if (said != GOES_ON)
		return said;
	said = judge_flow(skb, &view, s, direction);
	if (direction == INGRESS && said == TC_ACT_UNSPEC && is_answer(&view, s))
		return take_answer(skb, view.plain, view.now <= s->listening);
	return said;
}

/* A function of its own: the stack of what calls leave, and of what that calls, is limited to 512 bytes together. */
NOINLINE int judge_ingress(struct __sk_buff *skb, __u32 mark)
{
	return judge(skb, INGRESS, mark);
}

SEC("tc") int ingress(struct __sk_buff *skb)
{
	__u32 mark = take_mark(skb);

	if (mark && leave(skb, mark) == TC_ACT_SHOT)
		return TC_ACT_SHOT;
	return judge_ingress(skb, mark);
}

SEC("tc") int egress(struct __sk_buff *skb)
{
	return judge(skb, EGRESS, 0);
}

SEC("tc") int leaving(struct __sk_buff *skb)
{
	__u32 mark = take_mark(skb);

	return mark ? leave(skb, mark) : TC_ACT_UNSPEC;
}

char program_license[] SEC("license") = "Apache-2.0"; /* no helper that is called asks for another one */
