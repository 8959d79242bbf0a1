// Which fields of a packet are hashed (reference 5.3). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "snp/rss/toeplitz.h"
#include "snp/wire/address.h"

namespace snp::rss {

// Bits of HashInformation (mask 0x00ffff00), with the original's values.
enum HashType : std::uint32_t {
  kIpv4 = 0x00000100,
  kTcpIpv4 = 0x00000200,
  kIpv6 = 0x00000400,
  kIpv6Ex = 0x00000800,
  kTcpIpv6 = 0x00001000,
  kTcpIpv6Ex = 0x00002000,
  kUdpIpv4 = 0x00004000,
  kUdpIpv6 = 0x00008000,
  kUdpIpv6Ex = 0x00010000,
};
using HashTypes = std::uint32_t;  // a set of HashType

inline constexpr HashTypes kAllIpv4 = kIpv4 | kTcpIpv4 | kUdpIpv4;
inline constexpr HashTypes kAllIpv6 =
    kIpv6 | kIpv6Ex | kTcpIpv6 | kTcpIpv6Ex | kUdpIpv6 | kUdpIpv6Ex;

// Allowed per family: {IP}, {TCP}, {UDP}, {TCP|IP}, {UDP|IP}, {TCP|UDP|IP}, or none.
bool is_allowed(HashTypes types) noexcept;

enum class Transport : std::uint8_t { kOther, kTcp, kUdp };

// What a parser found in a packet's headers, in the packet's own direction.
struct PacketFields {
  IpAddress source;
  IpAddress destination;
  Transport transport = Transport::kOther;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  bool is_fragment = false;                        // any fragment, the first one too
  std::optional<IpAddress> home_address;           // IPv6 home address option
  std::optional<IpAddress> routing_type2_address;  // IPv6 routing header type 2
};

struct HashInput {
  HashType type{};
  std::uint8_t length = 0;
  std::array<std::uint8_t, kMaxInputBytes> bytes{};

  [[nodiscard]] std::span<const std::uint8_t> span() const noexcept {
    return std::span(bytes).first(length);
  }
};

// The input for the most specific enabled type that fits the packet; nothing: the packet gets no
// hash and goes to the default CPU.
std::optional<HashInput> select_input(const PacketFields& packet, HashTypes enabled) noexcept;

const char* to_string(HashType type) noexcept;

}  // namespace snp::rss
