/* What a set says about another address and a key: the comment of core/policy/tables is the specification, Judge there the same in
 * Go. */
#pragma once
#include "maps.h"

/* A verdict in one number: rule, who decided, whether it is allowed. */
INLINE __u64 verdict(__u32 rule, enum by by, __u32 allow)
{
	return (__u64)rule << 32 | by << 8 | allow;
}
#define ALLOWED(v) ((__u8)(v)&1)
#define BY(v) ((__u8)((v) >> 8))
#define RULE(v) ((__u32)((v) >> 32))

INLINE __u32 tag_of(const struct addr *a)
{
	return a->word[0] * 3 ^ a->word[1] * 5 ^ a->word[2] * 7 ^ a->word[3];
}

/* class_of says the class of an address. Negative: an element was reused twice while it was read. */
INLINE int class_of(const struct addr *remote, __u32 *class)
{
	*class = 0;
	for (int i = 0; i < 2; i++) {
		__u64 *found = map_lookup(&peers, remote), peer;
		if (!found)
			return 0;
		peer = read_once(*found);
		if (peer >> 32 == tag_of(remote)) {
			*class = (__u32)peer;
			return 0;
		}
	}
	return -1;
}

INLINE __u32 block_of(const struct addr *remote)
{
	__u32 *block;

	if (!remote->word[0] && !remote->word[1] && remote->word[2] == htonl(0xffff)) {
		struct prefix4 key = {.bits = 32, .addr = remote->word[3]};
		block = map_lookup(&blocks4, &key);
	} else {
		struct prefix6 key = {.bits = 128, .addr = *remote};
		block = map_lookup(&blocks6, &key);
	}
	return block ? *block : 0;
}

/* find looks for the range of a row that holds a key: the last that begins at it or before. */
INLINE int find(__u32 at, __u32 count, __u32 key, struct range **found)
{
	struct range *r;

	*found = 0;
	if (!count)
		return 0;
	for (int i = 0; i < MAX_RANGES_BITS && count > 1; i++) {
		__u32 half = count >> 1, middle = at + half;
		r = map_lookup(&ranges, &middle);
		if (!r)
			return -1;
		if (r->first <= key)
			at = middle;
		count -= half;
	}
	r = map_lookup(&ranges, &at);
	if (!r)
		return -1;
	if (r->first <= key && key <= r->last)
		*found = r;
	return 0;
}

/* word_of is the word of a tier that comes first. */
INLINE struct word word_of(const struct range *a, const struct range *b, int tier)
{
	struct word none = {}, x = a ? a->word[tier] : none, y = b ? b->word[tier] : none;

	if (!y.rank)
		return x;
	return !x.rank || y.rank >> 2 < x.rank >> 2 ? y : x;
}

INLINE __u64 decide(__u32 set, const struct range *a, const struct range *b)
{
	struct word w = word_of(a, b, ADMIN);
	__u32 action = w.rank & 3;

	if (action == ACCEPT || action == DENY)
		return verdict(w.rule, BY_ADMIN, action == ACCEPT);
	w = word_of(a, b, NETWORK);
	if ((w.rank & 3) == ACCEPT)
		return verdict(w.rule, BY_NETWORK, 1);
	if (set & SET_ISOLATES)
		return verdict(0, BY_ISOLATION, 0);
	w = word_of(a, b, BASELINE);
	action = w.rank & 3;
	if (action == ACCEPT || action == DENY)
		return verdict(w.rule, BY_BASELINE, action == ACCEPT);
	return verdict(0, BY_DEFAULT, !(set & SET_STRICT));
}

NOINLINE __u64 evaluate(__u32 set, const struct addr *remote, __u32 key)
{
	struct range *of_peer = 0, *of_block = 0;
	struct row_key at = {.set = set};
	struct row *row;
	__u32 block;

	if (!set)
		return verdict(0, BY_DEFAULT, 1);
	if (!remote || class_of(remote, &at.id))
		return verdict(0, BY_FAULT, 0);
	row = map_lookup(&rows, &at);
	if (!row && at.id) {
		at.id = 0;
		row = map_lookup(&rows, &at);
	}
	if (row && find(row->first, row->count, key, &of_peer))
		return verdict(0, BY_FAULT, 0);
	if (set & SET_HAS_BLOCKS && (block = block_of(remote))) {
		at.of_block = 1;
		at.id = block;
		row = map_lookup(&rows, &at);
		if (row && find(row->first, row->count, key, &of_block))
			return verdict(0, BY_FAULT, 0);
	}
	return decide(set, of_peer, of_block);
}
