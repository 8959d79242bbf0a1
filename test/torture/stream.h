// The byte stream of one direction of one connection: pseudo-random, a function of the seed alone,
// so that each end can make it and compare. Eight bytes at a time (splitmix64).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace snp::torture {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // 0 <= result < bound
  std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }

 private:
  std::uint64_t state_;
};

class Stream {
 public:
  // direction: 0 from the connecting end, 1 from the listening end.
  Stream(std::uint64_t seed, std::uint32_t connection, unsigned direction) noexcept
      : words_(Random(seed ^ (std::uint64_t{connection} << 1 | direction)).next()) {}

  // The next bytes of the stream.
  void fill(std::span<std::byte> out) noexcept {
    for (std::byte& byte : out)
      byte = next_byte();
  }

  // How many of the bytes are the next ones of the stream; it goes on behind those.
  std::size_t match(std::span<const std::byte> in) noexcept {
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (in[i] != next_byte()) return i;
    }
    return in.size();
  }

 private:
  std::byte next_byte() noexcept {
    if (left_ == 0) {
      word_ = words_.next();
      left_ = 8;
    }
    const auto byte = static_cast<std::byte>(word_ & 0xff);
    word_ >>= 8;
    --left_;
    return byte;
  }

  Random words_;
  std::uint64_t word_ = 0;
  unsigned left_ = 0;
};

}  // namespace snp::torture
