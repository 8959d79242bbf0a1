/* What the steering programs and their loader share: the flow map's key and value, the marks.
 * Plain C, both worlds. */
#ifndef SNP_BPF_SHARED_STEER_MAP_H
#define SNP_BPF_SHARED_STEER_MAP_H

#include <linux/types.h>

/* skb->mark of packets that snpd sends. */
#define SNP_MARK_ENGINE 0x534e5001u
#define SNP_MARK_REINJECT 0x534e5002u
/* Of those that were turned round, until the ingress program has seen them. */
#define SNP_MARK_GIVEN 0x534e5003u

enum snp_flow_state {
  SNP_FLOW_SHADOW = 1, /* the shard gets copies, the host still receives */
  SNP_FLOW_HOLD = 2,   /* only the shard receives; what the host sends is dropped */
  SNP_FLOW_ACTIVE = 3, /* the same, and the shard has the connection */
  SNP_FLOW_RETURN = 4, /* only the shard receives; the host sends again */
  SNP_FLOW_FOLLOW = 5, /* the host receives what follows what it has; the rest goes by the shard */
};

/* What the shards' sockets have made of the packet that is now on its way to the ingress program.
 */
enum snp_tap {
  SNP_TAP_UNKNOWN = 0,
  SNP_TAP_COPIED = 1, /* the shard has it */
  SNP_TAP_PASSED = 2, /* SNP_FLOW_FOLLOW: it is the host's */
};

/* A connection as this host sees it. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; everything in
 * network byte order. */
struct snp_flow_key {
  __u32 local[4];
  __u32 remote[4];
  __u16 local_port;
  __u16 remote_port;
};

/* Flows are counted by their ports, so that most packets of no flow need no look-up. */
#define SNP_FLOW_BUCKETS 65536

static inline __u32 snp_flow_bucket(const struct snp_flow_key *key) {
  const __u32 local = key->local_port;
  const __u32 remote = key->remote_port;
  return (local ^ remote) & (SNP_FLOW_BUCKETS - 1);
}

/* Instead of a shard's number: where the hash of the flow's packets says (rss_hash.h). */
#define SNP_SHARD_BY_HASH 0xffffffffu

struct snp_flow_value {
  __u32 state;   /* enum snp_flow_state */
  __u32 shard;   /* or SNP_SHARD_BY_HASH */
  __u32 account; /* index of its snp_account */
  __u32 tap;     /* enum snp_tap, of a CPU; SNP_TAP_UNKNOWN in the map */
};

/* The flows that a CPU met last, each at the bucket of its ports: what the map said when
 * snp_flow_generation was `generation`. */
#define SNP_RECENT_FLOWS 1024

struct snp_recent_flow {
  struct snp_flow_key key;
  __u32 generation;
  struct snp_flow_value value;
  __u64 zero;
};

/* What became of a flow's packets. It outlives the flow's entry: who counts late counts here, too.
 * Octets are those of IP, with its header; segments as the device cuts or has merged them. */
struct snp_account {
  __u64 taken_frames; /* kept from the host */
  __u64 taken_octets;
  __u64 taken_segments;
  __u64 fenced_frames; /* sent by the host, dropped by the egress fence */
  __u64 fenced_octets;
  __u64 fenced_segments;
  __u64 fenced_resets;
  __u64 next; /* SNP_FLOW_FOLLOW: what goes straight to the host */
};

/* Nothing, until the first packet has come by the shard. */
#define SNP_NEXT_UNKNOWN 0ull
/* What begins at the sequence number in the low half, or before. */
#define SNP_NEXT_KNOWN (1ull << 32)
/* Nothing any more: the shard keeps what it has. */
#define SNP_NEXT_NOTHING (2ull << 32)

/* Of flows that have no account of their own. */
#define SNP_ACCOUNT_OF_NOBODY 0

#ifdef __cplusplus
static_assert(sizeof(snp_flow_key) == 36 && sizeof(snp_flow_value) == 16 &&
              sizeof(snp_account) == 64 && sizeof(snp_recent_flow) == 64);
#else
_Static_assert(sizeof(struct snp_flow_key) == 36, "no padding: the key is hashed as bytes");
_Static_assert(sizeof(struct snp_flow_value) == 16, "shared layout");
_Static_assert(sizeof(struct snp_account) == 64, "shared layout: a cache line");
_Static_assert(sizeof(struct snp_recent_flow) == 64, "a cache line");
#endif

#endif
