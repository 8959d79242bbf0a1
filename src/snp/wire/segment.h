// A TCP segment as the state machine sees it: parsed, with its options, without its addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "snp/wire/seq_num.h"

namespace snp {

struct TcpFlags {
  static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08;
  static constexpr std::uint8_t kAck = 0x10, kUrg = 0x20, kEce = 0x40, kCwr = 0x80;
};

// [start, end) of a SACK block (RFC 2018 3).
struct SackBlock {
  SeqNum start;
  SeqNum end;
  friend bool operator==(const SackBlock&, const SackBlock&) = default;
};

// What a segment may carry besides data on an established connection.
struct TcpOptions {
  bool has_timestamps = false;
  std::uint32_t ts_val = 0;  // RFC 7323 3.2
  std::uint32_t ts_ecr = 0;
  std::uint8_t sack_count = 0;
  std::array<SackBlock, 4> sack{};
  // The option bytes were malformed; what was read before that stands.
  bool is_malformed = false;
};

// A segment that arrived. The payload stays where the device put it.
struct Segment {
  SeqNum seg_seq;
  SeqNum seg_ack;
  std::uint16_t seg_wnd = 0;  // as on the wire, not scaled
  std::uint8_t flags = 0;     // TcpFlags
  bool is_ce = false;         // IP ECN field was CE (RFC 3168 5)
  std::uint16_t gso_size =
      0;  // payload of each original segment when the device merged several; 0: one
  TcpOptions options;
  std::span<const std::byte> payload;
  // So many bytes of the payload, its first, stand at their places already (tcp/connection.h,
  // placeable()).
  std::uint32_t placed = 0;

  [[nodiscard]] bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
  // SEG.LEN: payload and the sequence numbers of SYN and FIN (RFC 9293 3.3.1).
  [[nodiscard]] std::uint32_t seg_len() const noexcept {
    return static_cast<std::uint32_t>(payload.size()) + (has(TcpFlags::kSyn) ? 1 : 0) +
           (has(TcpFlags::kFin) ? 1 : 0);
  }
};

// How many segments a frame of `payload` bytes stands for when it is cut, or was merged, at
// gso_size.
constexpr std::uint64_t segments_in(std::size_t payload, std::uint32_t gso_size) noexcept {
  return gso_size == 0 || payload <= gso_size ? 1 : (payload + gso_size - 1) / gso_size;
}

}  // namespace snp
