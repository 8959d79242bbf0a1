// Spreads the packets that a device receives over the CPUs of the host (reference 5.1 to 5.3): the
// bucket of the Toeplitz hash names a CPU, and the packet goes on there.
//
//   device -> snp_spread -> snp_cpus[CPU] -> a kernel thread on that CPU -> host stack
//
// What gets no hash goes to the default CPU, as rss/packet_fields.cpp and hash_type.cpp decide it;
// what is no IP packet, and what a VLAN tag keeps from us, stays where it is. One flow always goes
// the same way, so that its packets stay in order.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared/rss_hash.h"

#define IP_MORE_OR_OFFSET 0x3fff /* RFC 791: MF and the fragment offset */
#define MAX_EXTENSION_HEADERS 8
#define MAX_HEADER_BYTES 512 /* more extension headers than that cannot be skipped */

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_CPUMAP);
  __uint(max_entries, 1); /* set before loading */
  __type(key, __u32);
  __type(value, struct bpf_cpumap_val);
} snp_cpus SEC(".maps");

/* `shards` are CPUs here. Written by the loader; what it changes while packets go by it is a single
 * entry of `shards`. */
struct snp_rss snp_rss;

struct input {
  __u8 bytes[SNP_RSS_MAX_INPUT];
};

enum { TRANSPORT_OTHER, TRANSPORT_TCP, TRANSPORT_UDP };

/* What was found in the headers. */
struct fields {
  bool is_v4;
  __u8 transport;
  __u8 ports[4]; /* of both, as in the packet */
};

static __always_inline __u32 transport_of(__u8 protocol) {
  if (protocol == IPPROTO_TCP) return TRANSPORT_TCP;
  return protocol == IPPROTO_UDP ? TRANSPORT_UDP : TRANSPORT_OTHER;
}

/* False: the packet ends before its ports. */
static __always_inline bool read_ports(const void *data, const void *end, __u32 offset,
                                       __u8 protocol, struct fields *fields) {
  const void *ports = data + offset;
  fields->transport = transport_of(protocol);
  if (fields->transport == TRANSPORT_OTHER) return true;
  if (ports + 4 > end) return false;
  __builtin_memcpy(fields->ports, ports, 4);
  return true;
}

static __always_inline bool read_ipv4(const void *data, const void *end, struct fields *fields,
                                      struct input *input) {
  const struct iphdr *ip = data + ETH_HLEN;
  if ((const void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5) return false;
  fields->is_v4 = true;
  __builtin_memcpy(input->bytes, &ip->saddr, 8); /* source and destination */
  if ((ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET)) != 0) return true;
  return read_ports(data, end, ETH_HLEN + ip->ihl * 4u, ip->protocol, fields);
}

/* On the wire ::ffff:0:0/96 would pose as IPv4 (RFC 4291 2.5.5.2). */
static __always_inline bool is_mapped(const struct in6_addr *address) {
  const __be32 *words = address->in6_u.u6_addr32;
  return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

/* Skips extension headers (RFC 8200 4). False: it cannot be done. */
static __always_inline bool read_behind(const void *data, const void *end, __u8 next,
                                        struct fields *fields) {
  __u32 offset = ETH_HLEN + sizeof(struct ipv6hdr);
  for (int i = 0; i < MAX_EXTENSION_HEADERS; ++i) {
    const __u8 *extension;
    if (next == IPPROTO_FRAGMENT) return true; /* addresses only, the first one too */
    if (next == IPPROTO_TCP || next == IPPROTO_UDP)
      return read_ports(data, end, offset, next, fields);
    if (next == IPPROTO_ESP || next == IPPROTO_NONE) return true;
    extension = data + offset;
    if ((const void *)(extension + 2) > end) return false;
    if (next == IPPROTO_AH)
      offset += (extension[1] + 2u) * 4; /* RFC 4302 2.2 */
    else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS)
      offset += (extension[1] + 1u) * 8;
    else
      return true; /* another transport */
    next = extension[0];
    if (offset > MAX_HEADER_BYTES || data + offset > end) return false;
  }
  return false;
}

static __always_inline bool read_ipv6(const void *data, const void *end, struct fields *fields,
                                      struct input *input) {
  const struct ipv6hdr *ip = data + ETH_HLEN;
  if ((const void *)(ip + 1) > end || ip->version != 6) return false;
  if (is_mapped(&ip->saddr) || is_mapped(&ip->daddr)) return false;
  fields->is_v4 = false;
  __builtin_memcpy(input->bytes, &ip->saddr, 32);
  return read_behind(data, end, ip->nexthdr, fields);
}

/* The types of this packet's family that are on: its transport's and the addresses'. */
static __always_inline bool hashes_ports(const struct fields *fields) {
  __u32 wanted = 0;
  if (fields->transport == TRANSPORT_TCP)
    wanted = fields->is_v4 ? SNP_RSS_TCP_IPV4 : SNP_RSS_TCP_IPV6 | SNP_RSS_TCP_IPV6_EX;
  else if (fields->transport == TRANSPORT_UDP)
    wanted = fields->is_v4 ? SNP_RSS_UDP_IPV4 : SNP_RSS_UDP_IPV6 | SNP_RSS_UDP_IPV6_EX;
  return (snp_rss.types & wanted) != 0;
}

static __always_inline bool hashes_addresses(const struct fields *fields) {
  return (snp_rss.types & (fields->is_v4 ? SNP_RSS_IPV4 : SNP_RSS_IPV6 | SNP_RSS_IPV6_EX)) != 0;
}

static __always_inline __u32 place(const struct fields *fields, const struct input *input) {
  const bool with_ports = hashes_ports(fields);
  __u32 hash;
  __u32 bucket;
  if (!with_ports && !hashes_addresses(fields)) return snp_rss.default_shard;
  hash = fields->is_v4 ? snp_rss_part(&snp_rss, 0, input->bytes, 8)
                       : snp_rss_part(&snp_rss, 0, input->bytes, 32);
  if (with_ports)
    hash ^= fields->is_v4 ? snp_rss_part(&snp_rss, 8, fields->ports, 4)
                          : snp_rss_part(&snp_rss, 32, fields->ports, 4);
  bucket = hash & snp_rss.mask & (SNP_RSS_MAX_ENTRIES - 1);
  __sync_fetch_and_add(&snp_rss.packets[bucket], 1);
  return snp_rss.shards[bucket];
}

/* A CPU that the map has not got keeps the packet where it is. */
SEC("xdp")
int snp_spread(struct xdp_md *ctx) {
  const void *data = (const void *)(long)ctx->data;
  const void *end = (const void *)(long)ctx->data_end;
  const struct ethhdr *ethernet = data;
  struct fields fields = {};
  struct input input = {};
  bool is_read;
  if ((const void *)(ethernet + 1) > end) return XDP_PASS;
  if (ethernet->h_proto == bpf_htons(ETH_P_IP))
    is_read = read_ipv4(data, end, &fields, &input);
  else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
    is_read = read_ipv6(data, end, &fields, &input);
  else
    return XDP_PASS;
  return (int)bpf_redirect_map(&snp_cpus, is_read ? place(&fields, &input) : snp_rss.default_shard,
                               XDP_PASS);
}
