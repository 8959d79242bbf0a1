// TCP options of segments on an established connection: timestamps (RFC 7323 3.2) and SACK
// (RFC 2018 3). Those of the handshake are the host's business and are skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "snp/wire/segment.h"

namespace snp {

inline constexpr std::size_t kMaxTcpOptionBytes = 40;  // data offset has four bits
inline constexpr std::size_t kTimestampBytes = 12;     // NOP NOP and ten (RFC 7323 appendix A)

// Any bytes are allowed; at most 40 make sense.
TcpOptions parse_tcp_options(std::span<const std::byte> bytes) noexcept;

// How many SACK blocks fit beside the timestamps: three with them, four without.
constexpr std::uint8_t sack_blocks_that_fit(const TcpOptions& options) noexcept {
  const std::uint8_t most = options.has_timestamps ? 3 : 4;
  return options.sack_count < most ? options.sack_count : most;
}

// Bytes that write_tcp_options() writes: a multiple of four.
constexpr std::size_t tcp_options_bytes(const TcpOptions& options) noexcept {
  const std::size_t blocks = sack_blocks_that_fit(options);
  return (options.has_timestamps ? kTimestampBytes : 0) + (blocks > 0 ? 4 + 8 * blocks : 0);
}

// In the layout every stack knows by heart: NOP NOP TS, NOP NOP SACK. SACK blocks that do not fit
// are left out, the first ones are the most recent (RFC 2018 4). Pre: room for
// tcp_options_bytes(options).
std::size_t write_tcp_options(const TcpOptions& options, std::byte* out) noexcept;

}  // namespace snp
