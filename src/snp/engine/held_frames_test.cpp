#include "snp/engine/held_frames.h"

#include <gtest/gtest.h>

namespace snp::engine {
namespace {

FourTuple tuple_of(std::uint16_t port) {
  return {{IpAddress::v4(10, 0, 0, 1), port}, {IpAddress::v4(10, 0, 0, 2), 80}};
}

device::RxFrame frame_of(const std::vector<std::byte>& bytes) {
  return {bytes, device::Checksum::kValid, 1448};
}

std::uint32_t expire(HeldFrames& held, Instant limit) {
  std::uint32_t count = 0;
  held.expire(limit, [&](const FourTuple&, std::uint32_t) { ++count; });
  return count;
}

TEST(HeldFrames, GivesTheFramesOfATupleInOrderAsTheyCame) {
  HeldFrames held(10, 1000);
  const Instant now{seconds(1)};
  for (unsigned i = 0; i < 6; ++i)
    ASSERT_TRUE(held.hold(tuple_of(static_cast<std::uint16_t>(i % 2)),
                          frame_of({static_cast<std::byte>(i)}), i, now));
  unsigned expected = 1;
  held.take(tuple_of(1), [&](const device::RxFrame& frame, std::uint32_t device) {
    EXPECT_EQ(frame.bytes[0], static_cast<std::byte>(expected));
    EXPECT_EQ(frame.checksum, device::Checksum::kValid);
    EXPECT_EQ(frame.gso_size, 1448);
    EXPECT_EQ(device, expected);
    expected += 2;
  });
  EXPECT_EQ(expected, 7u);
  held.take(tuple_of(1), [&](const device::RxFrame&, std::uint32_t) { FAIL() << "taken before"; });
}

TEST(HeldFrames, KeepsWhatIsNotWanted) {
  HeldFrames held(10, 1000);
  const Instant now{seconds(1)};
  for (unsigned i = 0; i < 3; ++i)
    ASSERT_TRUE(held.hold(tuple_of(1), frame_of({}), i, now));
  held.take_while(tuple_of(1),
                  [](const device::RxFrame&, std::uint32_t device) { return device == 0; });
  std::uint32_t expected = 1;
  held.take(tuple_of(1),
            [&](const device::RxFrame&, std::uint32_t device) { EXPECT_EQ(device, expected++); });
  EXPECT_EQ(expected, 3u);
}

TEST(HeldFrames, IsBoundedInFramesAndBytes) {
  HeldFrames held(3, 100);
  const Instant now{seconds(1)};
  const std::vector<std::byte> large(90), small(5);
  EXPECT_TRUE(held.hold(tuple_of(1), frame_of(large), 0, now));
  EXPECT_FALSE(held.hold(tuple_of(1), frame_of(large), 0, now)) << "bytes";
  EXPECT_TRUE(held.hold(tuple_of(1), frame_of(small), 0, now));
  EXPECT_TRUE(held.hold(tuple_of(2), frame_of(small), 0, now));
  EXPECT_FALSE(held.hold(tuple_of(1), frame_of({}), 0, now)) << "frames";
  held.take(tuple_of(1), [](const device::RxFrame&, std::uint32_t) {});
  EXPECT_TRUE(held.hold(tuple_of(1), frame_of(large), 0, now)) << "room came back";
}

TEST(HeldFrames, ForgetsTheOldOnes) {
  HeldFrames held(10, 1000);
  const Instant now{seconds(1)};
  held.hold(tuple_of(1), frame_of({}), 0, now);
  held.hold(tuple_of(2), frame_of({}), 0, now + seconds(1));
  EXPECT_EQ(held.oldest(), now);
  EXPECT_EQ(expire(held, now), 0u);
  EXPECT_EQ(expire(held, now + milliseconds(1)), 1u);
  EXPECT_EQ(held.size(), 1u);
  EXPECT_EQ(expire(held, now + seconds(2)), 1u);
  EXPECT_TRUE(held.is_empty());
}

}  // namespace
}  // namespace snp::engine
