// The mapping of positions to a ring's bytes, against one byte after the other at its place.
#include "snp/state/stream_ring.h"

#include <array>
#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp {
namespace {

constexpr std::uint32_t kMostBytes = 64;

struct Ring {
  std::vector<std::byte> bytes;
  StreamRing ring;
  explicit Ring(std::uint32_t size) : bytes(size), ring{bytes.data(), size} {}
};

std::vector<std::byte> any_bytes(std::uint32_t length) {
  std::vector<std::byte> bytes(length);
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>(*rc::gen::arbitrary<std::uint8_t>());
  return bytes;
}

// Sizes from one byte on, positions anywhere in 64 bits.
TEST(StreamRing, PositionsWrapAndNeverCollide) {
  EXPECT_TRUE(rc::check([](std::uint64_t pos) {
    Ring ring(1u << *rc::gen::inRange(0, 7));
    const auto length = *rc::gen::inRange(0u, ring.ring.size + 1);
    const std::vector<std::byte> text = any_bytes(length);
    ring.ring.copy_in(pos, text);
    for (std::uint32_t i = 0; i < length; ++i)
      RC_ASSERT(ring.bytes[static_cast<std::size_t>((pos + i) % ring.ring.size)] == text[i]);
    std::vector<std::byte> again(length);
    ring.ring.copy_out(pos, again);
    RC_ASSERT(again == text);
    ring.ring.copy_out(pos + ring.ring.size, again);  // the same place, a turn later
    RC_ASSERT(again == text);
  }));
}

TEST(StreamRing, PiecesAreTheRangeAndNothingElse) {
  EXPECT_TRUE(rc::check([](std::uint64_t pos) {
    Ring ring(1u << *rc::gen::inRange(0, 7));
    const auto length = *rc::gen::inRange(0u, ring.ring.size + 1);
    const auto [first, second] = ring.ring.pieces(pos, length);
    RC_ASSERT(first.size() + second.size() == length);
    std::uint32_t i = 0;
    for (const auto& piece : {first, second})
      for (const std::byte& byte : piece)
        RC_ASSERT(&byte == &ring.bytes[static_cast<std::size_t>((pos + i++) % ring.ring.size)]);
  }));
}

// What stands in a ring stays until its place is written again.
TEST(StreamRing, AStreamPassesThroughByteForByte) {
  EXPECT_TRUE(rc::check([](std::uint64_t start) {
    Ring ring(kMostBytes);
    std::vector<std::byte> written, read;
    StreamRange range{start, start};
    for (int steps = *rc::gen::inRange(1, 60); steps != 0; --steps) {
      const auto room = kMostBytes - static_cast<std::uint32_t>(range.length());
      const auto text = any_bytes(*rc::gen::inRange(0u, room + 1));
      ring.ring.copy_in(range.end, text);
      range.end += text.size();
      written.insert(written.end(), text.begin(), text.end());
      std::vector<std::byte> part(
          *rc::gen::inRange(0u, static_cast<std::uint32_t>(range.length()) + 1));
      ring.ring.copy_out(range.begin, part);
      range.begin += part.size();
      read.insert(read.end(), part.begin(), part.end());
    }
    written.resize(read.size());
    RC_ASSERT(read == written);
  }));
}

}  // namespace
}  // namespace snp
