// The headers as they stand on the wire. Alignment 1, network byte order.
#pragma once

#include <array>
#include <cstdint>

#include "snp/base/byte_order.h"

namespace snp::wire {

using MacAddress = std::array<std::uint8_t, 6>;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr std::uint8_t kProtocolTcp = 6;

struct EthernetHeader {
  MacAddress destination;
  MacAddress source;
  be16 ether_type;
};

// RFC 791 3.1
struct Ipv4Header {
  std::uint8_t version_ihl;
  std::uint8_t tos;
  be16 total_length;
  be16 id;
  be16 flags_fragment;
  std::uint8_t ttl;
  std::uint8_t protocol;
  std::array<std::uint8_t, 2> checksum;  // memory order, see checksum.h
  std::array<std::uint8_t, 4> source;
  std::array<std::uint8_t, 4> destination;

  static constexpr std::uint16_t kDontFragment = 0x4000;
  static constexpr std::uint16_t kMoreFragmentsOrOffset = 0x3fff;
  static constexpr std::uint16_t kOffset = 0x1fff;
};

// RFC 8200 3
struct Ipv6Header {
  be32 version_class_label;
  be16 payload_length;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  std::array<std::uint8_t, 16> source;
  std::array<std::uint8_t, 16> destination;
};

// RFC 8200 4.3, 4.4, 4.6: the extension headers with a length in 8-byte units, the first not
// counted.
struct Ipv6Extension {
  std::uint8_t next_header;
  std::uint8_t length;
  std::uint8_t routing_type;   // of a routing header
  std::uint8_t segments_left;  // of a routing header
};

// RFC 9293 3.1
struct TcpHeader {
  be16 source_port;
  be16 destination_port;
  be32 sequence;
  be32 acknowledgment;
  std::uint8_t data_offset;  // high four bits, in words
  std::uint8_t flags;
  be16 window;
  std::array<std::uint8_t, 2> checksum;  // memory order
  be16 urgent_pointer;
};

static_assert(sizeof(EthernetHeader) == 14 && sizeof(Ipv4Header) == 20);
static_assert(sizeof(Ipv6Header) == 40 && sizeof(TcpHeader) == 20 && sizeof(Ipv6Extension) == 4);

}  // namespace snp::wire
