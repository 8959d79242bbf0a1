#include "snp/wire/checksum.h"

namespace snp {
namespace {

constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::size_t kTcpChecksumOffset = 16;

std::uint64_t load64(const std::byte* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// The halves of a 64-bit word, so that 2^32 of them can be added without a carry getting lost.
std::uint64_t halves(std::uint64_t word) noexcept {
  return (word & 0xffffffff) + (word >> 32);
}

}  // namespace

ChecksumSum sum_of(std::span<const std::byte> bytes) noexcept {
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  // Four independent chains keep the adders busy.
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (; left >= 32; left -= 32, p += 32) {
    a += halves(load64(p));
    b += halves(load64(p + 8));
    c += halves(load64(p + 16));
    d += halves(load64(p + 24));
  }
  for (; left >= 8; left -= 8, p += 8)
    a += halves(load64(p));
  if (left > 0) {
    std::uint64_t tail = 0;
    std::memcpy(&tail, p, left);
    b += halves(tail);
  }
  return a + b + c + d;
}

ChecksumSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                              std::uint32_t tcp_length) noexcept {
  // The v4-mapped prefix is left out for IPv4; for IPv6 all 16 bytes count (RFC 8200 8.1).
  const std::size_t skip = source.is_v4() ? 12 : 0;
  const ChecksumSum addresses = sum_of(std::as_bytes(std::span(source.bytes).subspan(skip))) +
                                sum_of(std::as_bytes(std::span(destination.bytes).subspan(skip)));
  return addresses + network_order(std::uint16_t{kTcpProtocol}) + network_order(tcp_length);
}

void PayloadSum::add(std::span<const std::byte> piece) noexcept {
  if (piece.empty()) return;
  const ChecksumSum sum = sum_of(piece);
  // A piece that begins at an odd offset: its words are swapped (RFC 1071 2 (B)).
  sum_ = add_sums(sum_, is_odd_ ? __builtin_bswap16(fold(sum)) : sum);
  is_odd_ ^= piece.size() % 2 != 0;
}

ChecksumVerdict check_tcp(const IpAddress& source, const IpAddress& destination,
                          std::span<const std::byte> tcp) noexcept {
  const ChecksumSum pseudo =
      pseudo_header_sum(source, destination, static_cast<std::uint32_t>(tcp.size()));
  if (fold(pseudo + sum_of(tcp)) == 0xffff) return ChecksumVerdict::kValid;
  std::uint16_t field = 0;
  std::memcpy(&field, tcp.data() + kTcpChecksumOffset, sizeof(field));
  return field == fold(pseudo) ? ChecksumVerdict::kUnfinished : ChecksumVerdict::kBad;
}

}  // namespace snp
