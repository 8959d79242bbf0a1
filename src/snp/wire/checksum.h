// The internet checksum (RFC 1071) for IP and TCP.
//
// Sums are kept in memory order: 16-bit words are added as they stand in memory, whatever the
// machine's byte order, and the folded sum is stored as it is (RFC 1071 2 (B)). So a number that is
// added (a length, a protocol) must be brought into network byte order first: see network_order().
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "snp/wire/address.h"

namespace snp {

// A running sum of 16-bit words in one's complement, not folded.
using ChecksumSum = std::uint64_t;

// Adds two running sums with end-around carry.
constexpr ChecksumSum add_sums(ChecksumSum a, ChecksumSum b) noexcept {
  const ChecksumSum sum = a + b;
  return sum + (sum < a ? 1 : 0);
}

constexpr std::uint16_t fold(ChecksumSum sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

constexpr std::uint16_t network_order(std::uint16_t value) noexcept {
  return std::endian::native == std::endian::big ? value : __builtin_bswap16(value);
}

constexpr std::uint32_t network_order(std::uint32_t value) noexcept {
  return std::endian::native == std::endian::big ? value : __builtin_bswap32(value);
}

// The sum of `bytes`; an odd last byte is padded with zero. To append more after an odd number of
// bytes, see PayloadSum.
ChecksumSum sum_of(std::span<const std::byte> bytes) noexcept;

// RFC 9293 3.1: addresses, protocol 6 and the length of TCP header and payload.
ChecksumSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                              std::uint32_t tcp_length) noexcept;

// Sums pieces of any length that follow each other.
class PayloadSum {
 public:
  explicit PayloadSum(ChecksumSum start = 0) noexcept : sum_(start) {}
  void add(std::span<const std::byte> piece) noexcept;
  // What goes into the checksum field, in memory order.
  [[nodiscard]] std::uint16_t finish() const noexcept {
    return static_cast<std::uint16_t>(~fold(sum_));
  }

 private:
  ChecksumSum sum_;
  bool is_odd_ = false;
};

enum class ChecksumVerdict : std::uint8_t {
  kValid,
  // The field holds exactly the folded pseudo-header sum: a sender on this machine left the rest
  // to a device that the frame never met (design section 6).
  kUnfinished,
  kBad,
};

// Checks a received TCP segment: header and payload, nothing behind. Whether kUnfinished is good
// enough depends on the device the frame came from. Pre: tcp.size() >= 20.
ChecksumVerdict check_tcp(const IpAddress& source, const IpAddress& destination,
                          std::span<const std::byte> tcp) noexcept;

}  // namespace snp
