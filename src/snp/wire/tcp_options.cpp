#include "snp/wire/tcp_options.h"

#include "snp/wire/checksum.h"

namespace snp {
namespace {

// IANA option kinds; RFC 9293 3.2, RFC 2018 3, RFC 7323 3.2.
constexpr std::uint8_t kEnd = 0, kNop = 1, kSack = 5, kTimestamps = 8;
constexpr std::uint8_t kTimestampsLength = 10;

std::uint8_t load8(const std::byte* from) noexcept {
  return std::to_integer<std::uint8_t>(*from);
}

std::uint32_t load32(const std::byte* from) noexcept {
  std::uint32_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return network_order(word);
}

std::byte* store32(std::byte* to, std::uint32_t value) noexcept {
  value = network_order(value);
  std::memcpy(to, &value, sizeof(value));
  return to + sizeof(value);
}

constexpr std::uint32_t layout(std::uint8_t kind, std::size_t length) noexcept {
  return std::uint32_t{kNop} << 24 | std::uint32_t{kNop} << 16 | std::uint32_t{kind} << 8 |
         static_cast<std::uint32_t>(length);
}

// One option with its length byte; false: malformed.
bool parse_option(std::uint8_t kind, std::span<const std::byte> body, TcpOptions& out) noexcept {
  if (kind == kTimestamps) {
    if (body.size() != kTimestampsLength - 2) return false;
    out.has_timestamps = true;
    out.ts_val = load32(body.data());
    out.ts_ecr = load32(body.data() + 4);
  } else if (kind == kSack) {
    const std::size_t blocks = body.size() / 8;
    if (body.size() % 8 != 0 || blocks == 0 || blocks > out.sack.size()) return false;
    out.sack_count = static_cast<std::uint8_t>(blocks);
    for (std::size_t i = 0; i < blocks; ++i)
      out.sack[i] = {SeqNum(load32(&body[8 * i])), SeqNum(load32(&body[8 * i + 4]))};
  }
  return true;
}

}  // namespace

TcpOptions parse_tcp_options(std::span<const std::byte> bytes) noexcept {
  TcpOptions out;
  // Nearly every segment: NOP NOP TS and nothing else.
  if (bytes.size() == kTimestampBytes &&
      load32(bytes.data()) == layout(kTimestamps, kTimestampsLength)) [[likely]] {
    out.has_timestamps = true;
    out.ts_val = load32(&bytes[4]);
    out.ts_ecr = load32(&bytes[8]);
    return out;
  }
  while (!bytes.empty()) {
    const std::uint8_t kind = load8(bytes.data());
    if (kind == kEnd) break;
    if (kind == kNop) {
      bytes = bytes.subspan(1);
      continue;
    }
    // RFC 9293 3.2 MUST-7: a length that is too small or leaves the header is handled, not trusted.
    const std::size_t length = bytes.size() >= 2 ? load8(&bytes[1]) : 0;
    if (length < 2 || length > bytes.size() ||
        !parse_option(kind, bytes.subspan(2, length - 2), out)) {
      out.is_malformed = true;
      break;
    }
    bytes = bytes.subspan(length);
  }
  return out;
}

std::size_t write_tcp_options(const TcpOptions& options, std::byte* out) noexcept {
  std::byte* p = out;
  if (options.has_timestamps) {
    p = store32(p, layout(kTimestamps, kTimestampsLength));
    p = store32(p, options.ts_val);
    p = store32(p, options.ts_ecr);
  }
  const std::size_t blocks = sack_blocks_that_fit(options);
  if (blocks > 0) p = store32(p, layout(kSack, 2 + 8 * blocks));
  for (std::size_t i = 0; i < blocks; ++i) {
    p = store32(p, options.sack[i].start.value());
    p = store32(p, options.sack[i].end.value());
  }
  return static_cast<std::size_t>(p - out);
}

}  // namespace snp
