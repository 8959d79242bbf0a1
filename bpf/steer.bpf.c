// Steering: who gets a packet of an offloaded connection, the host or a shard (design section 3).
//
//   device -> packet sockets (snp_socket, snp_fanout) -> tcx or clsact (snp_ingress) -> host
//   host, engine -> tcx or clsact (snp_egress) -> device
//
// The packet sockets look a flow up before snp_ingress does; what snp_ingress drops has its copy
// there. Whatever does not belong to a flow of the map passes all programs untouched, with as
// little work as possible. Fragments, ICMP and anything that cannot be parsed belong to the host;
// of the first fragment of an offloaded flow's segment the shard gets a copy, to know of it. SYN
// segments of an offloaded flow go to the engine, which answers as RFC 5961 4 wants.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared/rss_hash.h"
#include "shared/steer_map.h"

#define IP_MORE_OR_OFFSET 0x3fff /* RFC 791: MF and the fragment offset */
#define IP_OFFSET 0x1fff
#define TCP_SEQ 4 /* RFC 9293 3.1 */
#define TCP_DATA_OFFSET 12
#define TCP_FLAGS 13
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define MAX_EXTENSION_HEADERS 8 /* more than that is not a connection we carry */

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536); /* set before loading */
  __type(key, struct snp_flow_key);
  __type(value, struct snp_flow_value);
} snp_flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 65536); /* set before loading */
  __type(key, __u32);
  __type(value, struct snp_account);
} snp_accounts SEC(".maps");

/* How many flows the map holds at least, in all and by bucket; with none, nothing is parsed or
 * looked up. Written by the loader. */
volatile __u32 snp_flow_count;
volatile __u32 snp_flow_buckets[SNP_FLOW_BUCKETS];

/* Changes after each change of the map, before whoever made it goes on. Written by the loader. */
volatile __u32 snp_flow_generation;

/* Saves the packets of a busy flow two look-ups of 25 ns each. The programs run with softirqs off
 * and never in a hardware interrupt, so nobody else touches a CPU's entries meanwhile. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SNP_RECENT_FLOWS);
  __type(key, __u32);
  __type(value, struct snp_recent_flow);
} snp_recent SEC(".maps");

/* How flows are distributed over the shards. Written by the loader; what it changes while flows go
 * by it is a single entry of `shards`. */
struct snp_rss snp_rss;

/* What a program may do with its packet. First fragments are for those that copy, not for those
 * that decide. */
enum access {
  BY_HELPER, /* socket programs */
  DIRECT,    /* tc programs read the linear part themselves: 10 ns less */
};

struct ports {
  __be16 source;
  __be16 dest;
};

struct ipv4_start {
  struct iphdr ip;
  struct ports ports; /* when the header carries no options */
} __attribute__((packed));

struct ipv6_start {
  struct ipv6hdr ip;
  struct ports ports; /* when no extension header follows */
} __attribute__((packed));

struct extension_start {
  __u8 next_header;
  __u8 length;        /* in 8 bytes, without the first 8 */
  __u8 routing_type;  /* of a routing header; of a fragment the high byte of its offset */
  __u8 segments_left; /* of a routing header; of a fragment the low one, and its flags */
};

static __always_inline bool load_start(struct __sk_buff *skb, enum access access, __u32 net,
                                       void *to, __u32 size) {
  if (access == DIRECT) {
    const void *start = (const void *)(long)skb->data + ETH_HLEN;
    if (start + size <= (const void *)(long)skb->data_end) {
      __builtin_memcpy(to, start, size);
      return true;
    }
  }
  return bpf_skb_load_bytes(skb, net, to, size) == 0;
}

static __always_inline void set_ports(struct snp_flow_key *key, bool outgoing, struct ports ports) {
  key->local_port = outgoing ? ports.source : ports.dest;
  key->remote_port = outgoing ? ports.dest : ports.source;
}

static __always_inline bool read_ipv4(struct __sk_buff *skb, enum access access, __u32 net,
                                      bool outgoing, struct snp_flow_key *key) {
  struct ipv4_start h;
  if (!load_start(skb, access, net, &h, sizeof(h))) return false;
  if (h.ip.protocol != IPPROTO_TCP || h.ip.version != 4) return false;
  if ((h.ip.frag_off & bpf_htons(access == DIRECT ? IP_MORE_OR_OFFSET : IP_OFFSET)) != 0)
    return false;
  if (h.ip.ihl != 5) {
    if (h.ip.ihl < 5) return false;
    if (bpf_skb_load_bytes(skb, net + h.ip.ihl * 4, &h.ports, sizeof(h.ports)) != 0) return false;
  }
  key->local[0] = key->local[1] = key->remote[0] = key->remote[1] = 0;
  key->local[2] = key->remote[2] = bpf_htonl(0xffff);
  key->local[3] = outgoing ? h.ip.saddr : h.ip.daddr;
  key->remote[3] = outgoing ? h.ip.daddr : h.ip.saddr;
  set_ports(key, outgoing, h.ports);
  return true;
}

/* Walks the headers that an end host merely skips (RFC 8200 4), as wire/frame.cpp does. */
static __always_inline bool skip_extensions(struct __sk_buff *skb, enum access access, __u32 net,
                                            __u8 next, __u32 *offset) {
  for (int i = 0; i < MAX_EXTENSION_HEADERS; ++i) {
    struct extension_start extension;
    if (next == IPPROTO_TCP) return true;
    if (!(next == IPPROTO_HOPOPTS && i == 0) && next != IPPROTO_ROUTING &&
        next != IPPROTO_DSTOPTS && !(next == IPPROTO_FRAGMENT && access == BY_HELPER))
      return false;
    if (bpf_skb_load_bytes(skb, net + *offset, &extension, sizeof(extension)) != 0) return false;
    if (next == IPPROTO_FRAGMENT) {
      if (extension.routing_type != 0 || extension.segments_left >> 3 != 0) return false;
      extension.length = 0; /* reserved: it has eight bytes */
    }
    if (next == IPPROTO_ROUTING && extension.segments_left != 0) return false;
    next = extension.next_header;
    *offset += (extension.length + 1u) * 8;
  }
  return next == IPPROTO_TCP;
}

/* ::ffff:0:0/96 on the wire would pose as IPv4. */
static __always_inline bool is_mapped(const __u32 address[4]) {
  return address[2] == bpf_htonl(0xffff) && address[0] == 0 && address[1] == 0;
}

static __always_inline bool read_ipv6(struct __sk_buff *skb, enum access access, __u32 net,
                                      bool outgoing, struct snp_flow_key *key) {
  struct ipv6_start h;
  __u32 offset = sizeof(h.ip);
  if (!load_start(skb, access, net, &h, sizeof(h))) return false;
  if (h.ip.version != 6) return false;
  if (h.ip.nexthdr != IPPROTO_TCP) {
    if (!skip_extensions(skb, access, net, h.ip.nexthdr, &offset)) return false;
    if (bpf_skb_load_bytes(skb, net + offset, &h.ports, sizeof(h.ports)) != 0) return false;
  }
  __builtin_memcpy(key->local, outgoing ? &h.ip.saddr : &h.ip.daddr, sizeof(key->local));
  __builtin_memcpy(key->remote, outgoing ? &h.ip.daddr : &h.ip.saddr, sizeof(key->remote));
  set_ports(key, outgoing, h.ports);
  return !is_mapped(key->local) && !is_mapped(key->remote);
}

static __always_inline bool is_same(const struct snp_flow_key *a, const struct snp_flow_key *b) {
  return a->local_port == b->local_port && a->remote_port == b->remote_port &&
         a->remote[3] == b->remote[3] && a->local[3] == b->local[3] &&
         a->remote[2] == b->remote[2] && a->local[2] == b->local[2] &&
         a->remote[1] == b->remote[1] && a->local[1] == b->local[1] &&
         a->remote[0] == b->remote[0] && a->local[0] == b->local[0];
}

/* The generation is read before the map is (the addition of nothing is a barrier): what is
 * remembered with it is at least as new. */
static __always_inline struct snp_flow_value *look_up(struct snp_flow_key *key, __u32 bucket) {
  const __u32 generation = snp_flow_generation;
  /* A port's last bits are its second byte, and its first is that of all its neighbours. */
  const __u32 place = (bucket >> 8 ^ bucket << 2) & (SNP_RECENT_FLOWS - 1);
  struct snp_recent_flow *recent = bpf_map_lookup_elem(&snp_recent, &place);
  struct snp_flow_value *flow;
  __u32 tap;
  if (!recent) return NULL;
  if (recent->generation == generation && is_same(&recent->key, key)) return &recent->value;
  if (__sync_fetch_and_add(&recent->zero, 0) != 0) return NULL;
  flow = bpf_map_lookup_elem(&snp_flows, key);
  if (!flow) return NULL;
  tap = is_same(&recent->key, key) ? recent->value.tap : SNP_TAP_UNKNOWN;
  recent->key = *key;
  recent->value = *flow;
  recent->value.tap = tap;
  recent->generation = generation;
  return &recent->value;
}

/* The flow that a packet belongs to, as this CPU remembers it, or NULL; `key` gets its name. `net`:
 * where the IP header begins in the program's view. A frame with a VLAN tag belongs to another
 * device's network. */
static __always_inline struct snp_flow_value *find_flow_key(struct __sk_buff *skb,
                                                            enum access access, __u32 net,
                                                            bool outgoing,
                                                            struct snp_flow_key *key) {
  __u32 bucket;
  if (snp_flow_count == 0 || skb->vlan_present) return NULL;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    if (!read_ipv4(skb, access, net, outgoing, key)) return NULL;
  } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
    if (!read_ipv6(skb, access, net, outgoing, key)) return NULL;
  } else {
    return NULL;
  }
  bucket = snp_flow_bucket(key);
  return snp_flow_buckets[bucket] == 0 ? NULL : look_up(key, bucket);
}

static __always_inline struct snp_flow_value *find_flow(struct __sk_buff *skb, enum access access,
                                                        __u32 net, bool outgoing) {
  struct snp_flow_key key;
  return find_flow_key(skb, access, net, outgoing, &key);
}

/* Where the TCP header begins, unless an extension header that nobody sends stands before it. */
static __always_inline __u32 tcp_offset(struct __sk_buff *skb) {
  __u8 first = 0;
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return ETH_HLEN + sizeof(struct ipv6hdr);
  bpf_skb_load_bytes(skb, ETH_HLEN, &first, 1);
  return ETH_HLEN + (first & 15) * 4;
}

/* A merged frame that was given back and comes in again carries no number of segments. */
static __always_inline __u64 segments_in(struct __sk_buff *skb) {
  const __u32 offset = tcp_offset(skb);
  __u8 data_offset = 0;
  __u32 headers;
  if (skb->gso_segs != 0) return skb->gso_segs;
  if (skb->gso_size == 0) return 1;
  if (bpf_skb_load_bytes(skb, offset + TCP_DATA_OFFSET, &data_offset, 1) != 0) return 1;
  headers = offset + (data_offset >> 4) * 4;
  return skb->len > headers ? (skb->len - headers + skb->gso_size - 1) / skb->gso_size : 1;
}

static __always_inline void count_taken(struct __sk_buff *skb, const struct snp_flow_value *flow) {
  struct snp_account *account = bpf_map_lookup_elem(&snp_accounts, &flow->account);
  if (!account) return;
  __sync_fetch_and_add(&account->taken_frames, 1);
  __sync_fetch_and_add(&account->taken_octets, skb->len - ETH_HLEN);
  __sync_fetch_and_add(&account->taken_segments, segments_in(skb));
}

static __always_inline void count_fenced(struct __sk_buff *skb, const struct snp_flow_value *flow) {
  struct snp_account *account = bpf_map_lookup_elem(&snp_accounts, &flow->account);
  __u8 flags = 0;
  if (!account) return;
  bpf_skb_load_bytes(skb, tcp_offset(skb) + TCP_FLAGS, &flags, 1);
  __sync_fetch_and_add(&account->fenced_frames, 1);
  __sync_fetch_and_add(&account->fenced_octets, skb->len - ETH_HLEN);
  __sync_fetch_and_add(&account->fenced_segments, segments_in(skb));
  if (flags & TCP_RST) __sync_fetch_and_add(&account->fenced_resets, 1);
}

/* A connection that is home again: what the shard has kept, or still finds in its queue, comes to
 * the host by the shard, and what arrives meanwhile must not overtake it. So a packet goes straight
 * to the host only when it begins where the host's end, or before; the others go by the shard, too.
 * Once the shard has given all that it had, they all do. */
static __always_inline bool is_next(struct __sk_buff *skb, const struct snp_flow_value *flow) {
  const struct snp_account *account = bpf_map_lookup_elem(&snp_accounts, &flow->account);
  __be32 seq = 0;
  if (!account || bpf_skb_load_bytes(skb, tcp_offset(skb) + TCP_SEQ, &seq, sizeof(seq)) != 0)
    return true;
  return (account->next & SNP_NEXT_KNOWN) != 0 &&
         (__s32)(bpf_ntohl(seq) - (__u32)account->next) <= 0;
}

/* Two CPUs may be here for the same flow, and the number may go back: then the packets from there
 * on go by the shard, the first of which moves it on again. Padding of short frames counts in: what
 * follows begins before it, which is as good. */
static __always_inline void note_next(struct __sk_buff *skb, const struct snp_flow_value *flow) {
  struct snp_account *account = bpf_map_lookup_elem(&snp_accounts, &flow->account);
  const __u32 offset = tcp_offset(skb);
  __u64 before;
  __be32 seq = 0;
  __u8 fields[2]; /* data offset, flags */
  __u32 headers, end;
  if (!account || bpf_skb_load_bytes(skb, offset + TCP_SEQ, &seq, sizeof(seq)) != 0 ||
      bpf_skb_load_bytes(skb, offset + TCP_DATA_OFFSET, fields, sizeof(fields)) != 0)
    return;
  headers = offset + (fields[0] >> 4) * 4;
  if ((fields[1] & TCP_SYN) != 0 || skb->len < headers) return;
  end = bpf_ntohl(seq) + (skb->len - headers) + (fields[1] & TCP_FIN);
  before = account->next;
  if (before == SNP_NEXT_NOTHING) return;
  if (before == SNP_NEXT_UNKNOWN || (__s32)(end - (__u32)before) > 0)
    account->next = SNP_NEXT_KNOWN | end;
}

/* TC_ACT_UNSPEC lets the filters after ours have their say; to tcx it is TCX_NEXT. */
SEC("tc")
int snp_ingress(struct __sk_buff *skb) {
  const bool is_given = skb->mark == SNP_MARK_GIVEN;
  struct snp_flow_value *flow;
  if (is_given) skb->mark = 0;
  if (skb->pkt_type != PACKET_HOST) return TC_ACT_UNSPEC;
  flow = find_flow(skb, DIRECT, ETH_HLEN, false);
  if (!flow || flow->state < SNP_FLOW_HOLD) return TC_ACT_UNSPEC;
  if (flow->state == SNP_FLOW_FOLLOW && (is_given || flow->tap != SNP_TAP_COPIED)) {
    note_next(skb, flow);
    return TC_ACT_UNSPEC;
  }
  /* The flow has left SNP_FLOW_FOLLOW since the tap looked: nobody else has the packet. */
  if (flow->state == SNP_FLOW_HOLD && flow->tap == SNP_TAP_PASSED) return TC_ACT_UNSPEC;
  count_taken(skb, flow);
  return TC_ACT_SHOT;
}

SEC("tc")
int snp_egress(struct __sk_buff *skb) {
  struct snp_flow_value *flow;
  if (skb->mark == SNP_MARK_ENGINE) return TC_ACT_UNSPEC;
  if (skb->mark == SNP_MARK_REINJECT) {
    skb->mark = SNP_MARK_GIVEN;
    return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
  }
  flow = find_flow(skb, DIRECT, ETH_HLEN, true);
  if (!flow || flow->state < SNP_FLOW_HOLD || flow->state >= SNP_FLOW_RETURN) return TC_ACT_UNSPEC;
  count_fenced(skb, flow);
  return TC_ACT_SHOT;
}

/* On the shards' packet sockets: frames of flows in the map whole, nothing else, and of a flow that
 * is home again only those that would overtake. A raw socket's filter sees the frame from its
 * Ethernet header on. */
SEC("socket")
int snp_socket(struct __sk_buff *skb) {
  struct snp_flow_value *flow;
  bool passes;
  if (skb->pkt_type != PACKET_HOST) return 0;
  flow = find_flow(skb, BY_HELPER, ETH_HLEN, false);
  if (!flow) return 0;
  passes = flow->state == SNP_FLOW_FOLLOW && (skb->mark == SNP_MARK_GIVEN || is_next(skb, flow));
  /* Decided once: the ingress program, next on this CPU, must not think otherwise. */
  flow->tap = passes ? SNP_TAP_PASSED : SNP_TAP_COPIED;
  return passes ? 0 : -1;
}

/* The shard that hash and table give an incoming packet of this flow (reference 5.1 to 5.3):
 * source, destination, source port, destination port as they stand in the packet. Only TCP comes
 * here; of fragments only the first, which has the ports and follows its flow. */
static __always_inline __u32 place(const struct snp_flow_key *key) {
  const bool is_v4 =
      key->remote[2] == bpf_htonl(0xffff) && key->remote[0] == 0 && key->remote[1] == 0;
  const __u32 with_ports = is_v4 ? SNP_RSS_TCP_IPV4 : SNP_RSS_TCP_IPV6 | SNP_RSS_TCP_IPV6_EX;
  const __u32 addresses = is_v4 ? SNP_RSS_IPV4 : SNP_RSS_IPV6 | SNP_RSS_IPV6_EX;
  const __u8 *source_port = (const __u8 *)&key->remote_port;
  const __u8 *dest_port = (const __u8 *)&key->local_port;
  const __u32 types = snp_rss.types;
  __u32 hash;
  __u32 bucket;
  if ((types & (with_ports | addresses)) == 0) return snp_rss.default_shard;
  if (is_v4) {
    hash = snp_rss_part(&snp_rss, 0, (const __u8 *)&key->remote[3], 4) ^
           snp_rss_part(&snp_rss, 4, (const __u8 *)&key->local[3], 4);
    if (types & with_ports)
      hash ^= snp_rss_part(&snp_rss, 8, source_port, 2) ^ snp_rss_part(&snp_rss, 10, dest_port, 2);
  } else {
    hash = snp_rss_part(&snp_rss, 0, (const __u8 *)key->remote, 16) ^
           snp_rss_part(&snp_rss, 16, (const __u8 *)key->local, 16);
    if (types & with_ports)
      hash ^= snp_rss_part(&snp_rss, 32, source_port, 2) ^ snp_rss_part(&snp_rss, 34, dest_port, 2);
  }
  bucket = hash & snp_rss.mask & (SNP_RSS_MAX_ENTRIES - 1);
  __sync_fetch_and_add(&snp_rss.packets[bucket], 1);
  return snp_rss.shards[bucket];
}

/* Which socket of the fanout group: the shard that the flow is bound to, or that its hash gives.
 * Runs before the filter and sees the packet from its IP header on; packets of no flow go anywhere,
 * the filter drops them. */
SEC("socket")
int snp_fanout(struct __sk_buff *skb) {
  struct snp_flow_key key;
  struct snp_flow_value *flow = find_flow_key(skb, BY_HELPER, 0, false, &key);
  if (!flow) return 0;
  return flow->shard == SNP_SHARD_BY_HASH ? place(&key) : flow->shard;
}
