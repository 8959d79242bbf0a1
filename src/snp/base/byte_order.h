// Integers in network byte order, alignment 1, for wire structures.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace snp {

template <std::unsigned_integral T>
class BigEndian {
 public:
  constexpr BigEndian() noexcept = default;
  constexpr BigEndian(T value) noexcept {  // NOLINT(google-explicit-constructor): an integer
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_[i] = static_cast<std::uint8_t>(value >> (8 * (sizeof(T) - 1 - i)));
  }
  constexpr operator T() const noexcept {  // NOLINT(google-explicit-constructor): an integer
    T value = 0;
    for (std::uint8_t byte : bytes_)
      value = static_cast<T>(static_cast<T>(value << 8) | byte);
    return value;
  }

 private:
  std::array<std::uint8_t, sizeof(T)> bytes_{};
};

// A shift by 8 of an 8-bit type would be undefined; there is no byte order to keep there either.
using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;

static_assert(sizeof(be16) == 2 && alignof(be16) == 1);
static_assert(sizeof(be32) == 4 && alignof(be32) == 1);

}  // namespace snp
