/* The distribution over shards, or over the CPUs of the host, that the programs and their loaders
 * share: hash types, key and indirection table, and the hash itself. The same function runs in both
 * worlds. Plain C. */
#ifndef SNP_BPF_SHARED_RSS_HASH_H
#define SNP_BPF_SHARED_RSS_HASH_H

#include <linux/types.h>

#define SNP_RSS_MAX_ENTRIES 1024
#define SNP_RSS_MAX_INPUT 36 /* two IPv6 addresses and two ports */

/* Bits of `types`; the values of the original (reference 5.3). */
#define SNP_RSS_IPV4 0x00000100u
#define SNP_RSS_TCP_IPV4 0x00000200u
#define SNP_RSS_IPV6 0x00000400u
#define SNP_RSS_IPV6_EX 0x00000800u
#define SNP_RSS_TCP_IPV6 0x00001000u
#define SNP_RSS_TCP_IPV6_EX 0x00002000u
#define SNP_RSS_UDP_IPV4 0x00004000u
#define SNP_RSS_UDP_IPV6 0x00008000u
#define SNP_RSS_UDP_IPV6_EX 0x00010000u

struct snp_rss {
  __u32 types;
  __u32 mask;          /* entries - 1; 0 with one entry */
  __u32 default_shard; /* of packets without a hash */
  __u32 unused;
  __u32 shards[SNP_RSS_MAX_ENTRIES];
  __u64 packets[SNP_RSS_MAX_ENTRIES]; /* of each bucket, counted by the program */
  /* What each input byte, by its position and value, adds to the hash: Toeplitz is linear. */
  __u32 key[SNP_RSS_MAX_INPUT][256];
};

/* The part of the hash that `count` bytes from position `at` on make. */
static inline __attribute__((always_inline)) __u32 snp_rss_part(const struct snp_rss *rss, __u32 at,
                                                                const __u8 *bytes, __u32 count) {
  __u32 hash = 0;
#ifdef __bpf__
#pragma unroll
#endif
  for (__u32 i = 0; i < count; ++i)
    hash ^= rss->key[at + i][bytes[i]];
  return hash;
}

#endif
