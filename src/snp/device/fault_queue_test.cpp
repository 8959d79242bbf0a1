#include "snp/device/fault_queue.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "snp/device/fake_queue.h"

namespace snp::device {
namespace {

std::vector<std::byte> numbered(std::uint32_t number) {
  std::vector<std::byte> bytes(sizeof(number) + number % 50);
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

std::uint32_t number_of(std::span<const std::byte> bytes) {
  std::uint32_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof(number));
  EXPECT_EQ(bytes.size(), numbered(number).size());
  return number;
}

struct Fixture {
  FakeQueue* inner;
  FaultQueue queue;

  explicit Fixture(const FaultConfig& config) : Fixture(config, std::make_unique<FakeQueue>()) {}
  Fixture(const FaultConfig& config, std::unique_ptr<FakeQueue> fake)
      : inner(fake.get()), queue(std::move(fake), config) {}

  static bool transmit(PacketQueue& to, std::uint32_t number) {
    const auto bytes = numbered(number);
    TxFrame frame;
    frame.headers = std::span(bytes).first(3);
    frame.payload[0] = std::span(bytes).subspan(3, 1);
    frame.payload[1] = std::span(bytes).subspan(4);
    frame.gso_size = 7;
    return to.transmit(frame);
  }
  // Through the faults of one direction only; the numbers that arrive, in order.
  std::vector<std::uint32_t> sent_through(std::uint32_t frames) {
    for (std::uint32_t i = 0; i < frames; ++i) {
      EXPECT_TRUE(transmit(queue, i));
      if (i % 20 == 19) queue.flush();
    }
    queue.flush();
    return drain(*inner);
  }
  std::vector<std::uint32_t> received_through(std::uint32_t frames, std::size_t burst = 30) {
    for (std::uint32_t i = 0; i < frames; ++i)
      transmit(*inner, i);
    return drain(queue, burst);
  }
  static std::vector<std::uint32_t> drain(PacketQueue& from, std::size_t burst = 30) {
    std::vector<std::uint32_t> numbers;
    std::vector<RxFrame> out(burst);
    for (std::size_t n = from.receive(out); n != 0; n = from.receive(out)) {
      EXPECT_LE(n, burst);
      for (const RxFrame& frame : std::span(out).first(n)) {
        EXPECT_EQ(frame.gso_size, 7);
        EXPECT_EQ(frame.checksum, Checksum::kValid);
        numbers.push_back(number_of(frame.bytes));
      }
    }
    return numbers;
  }
};

std::vector<std::uint32_t> in_order(std::uint32_t frames) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i < frames; ++i)
    numbers.push_back(i);
  return numbers;
}

constexpr std::uint32_t kFrames = 2000;

TEST(FaultQueueTest, WithoutFaultsNothingChanges) {
  EXPECT_EQ(Fixture({}).sent_through(kFrames), in_order(kFrames));
  EXPECT_EQ(Fixture({}).received_through(kFrames), in_order(kFrames));
}

TEST(FaultQueueTest, LosesTheShareAskedFor) {
  Fixture fixture({.loss = 0.1});
  const auto sent = fixture.sent_through(kFrames);
  EXPECT_EQ(sent.size() + fixture.queue.faults().lost, kFrames);
  EXPECT_NEAR(static_cast<double>(fixture.queue.faults().lost), 200, 70);
  EXPECT_TRUE(std::is_sorted(sent.begin(), sent.end()));
  Fixture other({.loss = 0.1});
  EXPECT_EQ(other.received_through(kFrames).size() + other.queue.faults().lost, kFrames);
}

TEST(FaultQueueTest, TheCopyFollowsAtOnce) {
  for (const bool is_receiving : {false, true}) {
    Fixture fixture({.duplicate = 0.2});
    const auto got =
        is_receiving ? fixture.received_through(kFrames) : fixture.sent_through(kFrames);
    EXPECT_EQ(got.size(), kFrames + fixture.queue.faults().duplicated);
    EXPECT_GT(fixture.queue.faults().duplicated, 200u);
    EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
    EXPECT_EQ(std::set<std::uint32_t>(got.begin(), got.end()).size(), kFrames);
  }
}

TEST(FaultQueueTest, LateFramesComeSoonAndWhole) {
  for (const bool is_receiving : {false, true}) {
    Fixture fixture({.reorder = 0.2});
    const auto got =
        is_receiving ? fixture.received_through(kFrames) : fixture.sent_through(kFrames);
    ASSERT_EQ(got.size(), kFrames);
    EXPECT_FALSE(std::is_sorted(got.begin(), got.end()));
    EXPECT_EQ(std::set<std::uint32_t>(got.begin(), got.end()).size(), kFrames);
    for (std::uint32_t i = 0; i < kFrames; ++i)
      EXPECT_NEAR(static_cast<double>(got[i]), i, 40) << "nobody waits long";
  }
}

TEST(FaultQueueTest, AHeldFrameDoesNotOutliveTheTurn) {
  Fixture fixture({.reorder = 1});
  ASSERT_TRUE(Fixture::transmit(fixture.queue, 5));
  EXPECT_TRUE(Fixture::drain(*fixture.inner).empty());
  fixture.queue.flush();
  EXPECT_EQ(Fixture::drain(*fixture.inner), std::vector<std::uint32_t>{5});
  EXPECT_EQ(fixture.received_through(1), std::vector<std::uint32_t>{0});
}

TEST(FaultQueueTest, ASeedRepeatsEverything) {
  const FaultConfig config = {.loss = 0.05, .duplicate = 0.05, .reorder = 0.05, .seed = 4711};
  FaultConfig other = config;
  other.seed = 4712;
  EXPECT_EQ(Fixture(config).sent_through(kFrames), Fixture(config).sent_through(kFrames));
  EXPECT_EQ(Fixture(config).received_through(kFrames), Fixture(config).received_through(kFrames));
  EXPECT_NE(Fixture(config).sent_through(kFrames), Fixture(other).sent_through(kFrames));
}

TEST(FaultQueueTest, SmallBurstsLoseNothing) {
  for (const std::size_t burst : {1u, 2u, 3u, 4u}) {
    Fixture fixture({.reorder = 0.3});
    const auto got = fixture.received_through(kFrames, burst);
    EXPECT_EQ(std::set<std::uint32_t>(got.begin(), got.end()).size(), kFrames) << burst;
  }
}

TEST(FaultQueueTest, AFullQueueIsTold) {
  Fixture fixture({});
  fixture.inner->is_full = true;
  EXPECT_FALSE(Fixture::transmit(fixture.queue, 1));
}

TEST(FaultQueueTest, ReinjectionIsNotDisturbed) {
  Fixture fixture({.loss = 1});
  const auto bytes = numbered(3);
  EXPECT_TRUE(fixture.queue.reinject({bytes}));
  EXPECT_EQ(fixture.inner->reinjected.size(), 1u);
}

TEST(FaultQueue, KeptFramesStayWhetherOursOrTheQueues) {
  Fixture fixture({0, 0.2, 0.3, 11});
  struct Kept {
    std::span<const std::byte> bytes;
    std::uint32_t number;
  };
  std::deque<Kept> kept;
  std::array<RxFrame, 8> out;
  std::size_t received = 0;
  for (std::uint32_t round = 0; round < 400; ++round) {
    for (std::uint32_t i = 0; i < 3; ++i)
      Fixture::transmit(*fixture.inner, 3 * round + i);
    fixture.queue.keep(kept.size());
    const std::size_t count = fixture.queue.receive(out);
    received += count;
    for (const RxFrame& frame : std::span(out).first(count))
      kept.push_back({frame.bytes, number_of(frame.bytes)});
    for (const Kept& one : kept)
      ASSERT_EQ(number_of(one.bytes), one.number);
    while (kept.size() > round % 30)
      kept.pop_front();
  }
  EXPECT_GT(received, 1000u);
}

}  // namespace
}  // namespace snp::device
