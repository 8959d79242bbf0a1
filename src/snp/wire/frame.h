// A received Ethernet frame taken apart: Ethernet II, IPv4 or IPv6, TCP. Whatever stands in it is
// hostile. Not here: checksums (checksum.h) and what the segment means (tcp/).
// Read first: RFC 791 3.1, RFC 8200 3 and 4, RFC 9293 3.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "snp/wire/address.h"
#include "snp/wire/checksum.h"
#include "snp/wire/segment.h"

namespace snp {

// Why a frame was not taken. All of these belong to the host.
enum class FrameVerdict : std::uint8_t {
  kTcp,           // taken
  kNotIp,         // another EtherType: ARP, a VLAN tag, ...
  kTruncated,     // shorter than its own lengths say
  kBadIpHeader,   // version, header length or addresses that cannot be
  kFragment,      // part of a datagram
  kNotTcp,        // another protocol, or an IPv6 extension header that only the host understands
  kBadTcpHeader,  // data offset below 5 words
};

const char* to_string(FrameVerdict) noexcept;

struct ParsedFrame {
  FourTuple tuple;  // as we see it: local is the IP destination
  Segment segment;  // payload points into the frame; padding behind the IP packet is cut off
  std::uint32_t length = 0;     // of the frame without padding
  std::uint16_t l3_offset = 0;  // IP header
  std::uint16_t l4_offset = 0;  // TCP header
  std::uint8_t ttl = 0;         // or hop limit
  std::uint8_t tos = 0;         // or traffic class; ECN in the low two bits
  bool is_v6 = false;
};

// `gso_size` as in device::RxFrame: only a merged frame may carry the length 0 that stands for
// "more than 16 bits say" (Linux BIG TCP). `out` is meaningful after kTcp, its tuple after
// kBadTcpHeader, and tuple and segment.seg_seq after kFragment when it is the first and has the TCP
// header; else the ports are 0.
FrameVerdict parse_frame(std::span<const std::byte> frame, std::uint16_t gso_size,
                         ParsedFrame& out) noexcept;

// The checksum of a frame that parse_frame() took.
inline ChecksumVerdict check_tcp(std::span<const std::byte> frame,
                                 const ParsedFrame& parsed) noexcept {
  return check_tcp(parsed.tuple.remote.address, parsed.tuple.local.address,
                   frame.subspan(parsed.l4_offset, parsed.length - parsed.l4_offset));
}

}  // namespace snp
