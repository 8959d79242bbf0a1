// Writes the headers of a connection's segments: Ethernet, IP and TCP are built once, each segment
// fills in what differs. Shard-local. IPv4 goes out with DF and id 0 (RFC 6864 4.1: an atomic
// datagram needs no id).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "snp/wire/address.h"
#include "snp/wire/checksum.h"
#include "snp/wire/headers.h"
#include "snp/wire/segment.h"
#include "snp/wire/tcp_options.h"

namespace snp {

// What stays the same from segment to segment. `tuple` as we see it: local is the source.
struct HeaderFields {
  wire::MacAddress source_mac{};
  wire::MacAddress destination_mac{};
  FourTuple tuple;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;          // or traffic class; its ECN bits are set per segment
  std::uint32_t flow_label = 0;  // IPv6, 20 bits
};

// What differs.
struct SegmentFields {
  SeqNum seq{};
  SeqNum ack{};
  std::uint16_t wnd = 0;
  std::uint8_t flags = 0;
  bool is_ect = false;            // ECT(0)
  std::uint32_t payload_len = 0;  // of the whole frame, before a device cuts it
};

class HeaderTemplate {
 public:
  // Ethernet, IPv6 without extensions, TCP with all its options.
  static constexpr std::size_t kMaxBytes = 14 + 40 + 20 + kMaxTcpOptionBytes;
  // Most payload that 16 bits of IP length allow beside the longest headers.
  static constexpr std::uint32_t kMaxPayload = 65535 - 40 - 20 - kMaxTcpOptionBytes;

  HeaderTemplate() noexcept = default;
  explicit HeaderTemplate(const HeaderFields& fields) noexcept;

  // Writes the headers and returns how many bytes they take. The TCP checksum is the folded
  // pseudo-header sum, as a device expects that finishes it; else call finish_tcp_checksum().
  // Pre: `out` has room for kMaxBytes; segment.payload_len <= kMaxPayload.
  std::size_t write(const SegmentFields& segment, const TcpOptions& options,
                    std::byte* out) const noexcept;

  [[nodiscard]] std::uint8_t l4_offset() const noexcept { return l4_offset_; }
  [[nodiscard]] bool is_v6() const noexcept { return l4_offset_ == kL4OffsetV6; }

 private:
  static constexpr std::uint8_t kL3Offset = sizeof(wire::EthernetHeader);
  static constexpr std::uint8_t kL4OffsetV4 = kL3Offset + sizeof(wire::Ipv4Header);
  static constexpr std::uint8_t kL4OffsetV6 = kL3Offset + sizeof(wire::Ipv6Header);

  void build_ipv4(const HeaderFields& fields) noexcept;
  void build_ipv6(const HeaderFields& fields) noexcept;
  void fill_ipv4(std::size_t tcp_bytes, std::uint8_t ecn, std::byte* out) const noexcept;
  void fill_ipv6(std::size_t tcp_bytes, std::uint8_t ecn, std::byte* out) const noexcept;

  std::array<std::byte, kL4OffsetV6 + sizeof(wire::TcpHeader)> bytes_{};
  std::uint8_t l4_offset_ = kL4OffsetV4;
  ChecksumSum ip_sum_ = 0;      // IPv4 header without total length and ECN
  ChecksumSum pseudo_sum_ = 0;  // pseudo-header without the TCP length
};

// Completes the TCP checksum of headers that HeaderTemplate wrote, over the payload that follows.
void finish_tcp_checksum(std::span<std::byte> headers, std::size_t l4_offset,
                         std::span<const std::byte> payload,
                         std::span<const std::byte> more_payload = {}) noexcept;

}  // namespace snp
