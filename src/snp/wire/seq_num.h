// TCP sequence numbers: 32 bits, modulo 2^32 (RFC 9293 3.4). Comparisons hold within half the
// space.
#pragma once

#include <cstdint>

namespace snp {

class SeqNum {
 public:
  constexpr SeqNum() noexcept = default;
  constexpr explicit SeqNum(std::uint32_t value) noexcept : value_(value) {}
  [[nodiscard]] constexpr std::uint32_t value() const noexcept { return value_; }

  friend constexpr SeqNum operator+(SeqNum a, std::uint32_t n) noexcept {
    return SeqNum(a.value_ + n);
  }
  friend constexpr SeqNum operator-(SeqNum a, std::uint32_t n) noexcept {
    return SeqNum(a.value_ - n);
  }
  // Distance from b to a, modulo 2^32. Pre: b is not after a.
  friend constexpr std::uint32_t operator-(SeqNum a, SeqNum b) noexcept {
    return a.value_ - b.value_;
  }
  constexpr SeqNum& operator+=(std::uint32_t n) noexcept {
    value_ += n;
    return *this;
  }

  friend constexpr bool operator==(SeqNum, SeqNum) noexcept = default;
  friend constexpr bool operator<(SeqNum a, SeqNum b) noexcept {
    return static_cast<std::int32_t>(a.value_ - b.value_) < 0;
  }
  friend constexpr bool operator>(SeqNum a, SeqNum b) noexcept { return b < a; }
  friend constexpr bool operator<=(SeqNum a, SeqNum b) noexcept { return !(b < a); }
  friend constexpr bool operator>=(SeqNum a, SeqNum b) noexcept { return !(a < b); }

 private:
  std::uint32_t value_ = 0;
};

constexpr SeqNum seq_max(SeqNum a, SeqNum b) noexcept {
  return a < b ? b : a;
}
constexpr SeqNum seq_min(SeqNum a, SeqNum b) noexcept {
  return b < a ? b : a;
}

}  // namespace snp
