// The Toeplitz hash (reference 5.2): the only hash function of RSS. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace snp::rss {

inline constexpr std::size_t kKeyBytes = 40;
inline constexpr std::size_t kMaxInputBytes = 36;  // two IPv6 addresses and two ports
inline constexpr std::size_t kMaxInputWords = kMaxInputBytes / 4;

using HashKey = std::array<std::uint8_t, kKeyBytes>;

// The published verification key.
inline constexpr HashKey kVerificationKey = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

// The same 16 bits over and over: both directions of a connection hash alike.
HashKey make_symmetric_key(std::uint16_t seed) noexcept;

// 80 hexadecimal digits; blanks and colons between bytes do not count. Nothing: another length, or
// another character.
std::optional<HashKey> parse_key(std::string_view text) noexcept;
std::string to_text(const HashKey& key);

// Bit by bit, as the reference writes it: the definition that the others are tested against.
// Pre: input.size() <= kMaxInputBytes.
std::uint32_t toeplitz(const HashKey& key, std::span<const std::uint8_t> input) noexcept;

// One look-up per input byte. The hash is linear, so the contribution of each byte value at each
// position can be computed beforehand: 36 KiB a key. Immutable; any thread.
class ToeplitzTable {
 public:
  using Table = std::array<std::array<std::uint32_t, 256>, kMaxInputBytes>;
  explicit ToeplitzTable(const HashKey& key);

  // Pre: input.size() <= kMaxInputBytes.
  [[nodiscard]] std::uint32_t hash(std::span<const std::uint8_t> input) const noexcept {
    std::uint32_t result = 0;
    for (std::size_t i = 0; i < input.size(); ++i)
      result ^= (*table_)[i][input[i]];
    return result;
  }
  [[nodiscard]] const Table& table() const noexcept { return *table_; }

 private:
  std::unique_ptr<const Table> table_;
};

// One carry-less multiplication per four input bytes: the hash is a product of polynomials over
// GF(2), of which 32 bits in the middle are wanted. Only where has_carryless() says so. Immutable;
// any thread.
class ToeplitzCarryless {
 public:
  explicit ToeplitzCarryless(const HashKey& key) noexcept;
  static bool has_carryless() noexcept;  // this CPU multiplies so

  // Pre: has_carryless(), input.size() <= kMaxInputBytes.
  [[nodiscard]] std::uint32_t hash(std::span<const std::uint8_t> input) const noexcept;

 private:
  // The 64 key bits that meet each input word, mirrored: then the input need not be.
  std::array<std::uint64_t, kMaxInputWords> windows_;
};

// Whichever of the two this CPU does faster, chosen once. Immutable; any thread.
class Toeplitz {
 public:
  explicit Toeplitz(const HashKey& key);

  // Pre: input.size() <= kMaxInputBytes.
  [[nodiscard]] std::uint32_t hash(std::span<const std::uint8_t> input) const noexcept {
    return carryless_ ? carryless_->hash(input) : table_->hash(input);
  }
  [[nodiscard]] const char* path() const noexcept { return carryless_ ? "carryless" : "table"; }

 private:
  std::optional<ToeplitzCarryless> carryless_;
  std::optional<ToeplitzTable> table_;
};

}  // namespace snp::rss
