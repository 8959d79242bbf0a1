// Hash of a four-tuple for our own tables. Not Toeplitz: nothing outside this process sees it. The
// peer chooses its address and port, so a table that holds connections gives a secret seed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "snp/wire/address.h"

namespace snp {

struct FourTupleHash {
  using is_avalanching = void;
  std::uint64_t seed = 0x9e3779b97f4a7c15;

  [[nodiscard]] std::size_t operator()(const FourTuple& tuple) const noexcept {
    const auto* remote = tuple.remote.address.bytes.data();
    const auto* local = tuple.local.address.bytes.data();
    const std::uint64_t ports =
        (std::uint64_t{tuple.remote.port} << 16 | tuple.local.port) ^ 0xd6e8feb86659fd93;
    std::uint64_t h = mix(load(remote) ^ seed, load(remote + 8) ^ 0xa0761d6478bd642f);
    h = mix(load(local) ^ h, load(local + 8) ^ 0xe7037ed1a0b428db);
    return mix(h ^ ports, seed ^ 0x8ebc6af09c88c6e3);
  }

 private:
  static std::uint64_t load(const std::uint8_t* bytes) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  // Two rounds of multiply and fold: each output bit depends on each bit of both inputs.
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t x = (a ^ std::rotl(b, 32)) * 0x9fb21c651e98df25;
    x = (x ^ (x >> 35)) + b;
    x *= 0xd6e8feb86659fd93;
    return x ^ (x >> 32);
  }
};

}  // namespace snp
