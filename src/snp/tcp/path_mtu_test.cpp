// Paths that lose large packets in silence (RFC 4821, 8899).
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

Start wide() {
  Start start;
  start.state.constant.remote_mss = 1460;
  start.state.cached.path_mtu = 1500;
  start.state.cached.no_delay = true;
  start.state.delegated.cwnd_bytes = 60'000;
  return start;
}

// The peer gets what is at most `most` long. Returns the next byte it expects.
class BlackHole {
 public:
  BlackHole(Steps& steps, std::uint32_t most) : steps_(steps), most_(most) {}

  // Until everything up to `end` has arrived; at most `turns` times 10 ms.
  bool carry(std::uint32_t end, int turns = 5000) {
    while (expected_ < end && turns-- > 0) {
      while (auto packet = steps_.take_packet())
        arrive(packet->first, packet->second);
      if (!has_news_) {
        steps_.pass(milliseconds(10));
        continue;
      }
      has_news_ = false;
      steps_.pass(milliseconds(10));
      Blocks sack;
      for (const auto& [from, to] : islands_)
        if (sack.size() < 3) sack.push_back({from, to});
      steps_.receive({.ack = expected_, .sack = sack});
    }
    return expected_ >= end;
  }
  [[nodiscard]] std::uint32_t largest() const { return largest_; }

 private:
  void arrive(std::uint32_t seq, std::uint32_t length) {
    if (length == 0 || length > most_) return;
    has_news_ = true;
    largest_ = std::max(largest_, length);
    if (seq > expected_) {
      islands_.push_back({seq, seq + length});
      return;
    }
    expected_ = std::max(expected_, seq + length);
    for (bool moved = true; moved;) {
      moved = false;
      for (const auto& [from, to] : islands_)
        if (from <= expected_ && to > expected_) {
          expected_ = to;
          moved = true;
        }
    }
    std::erase_if(islands_, [this](const auto& island) { return island.second <= expected_; });
  }

  Steps& steps_;
  std::uint32_t most_;
  std::uint32_t expected_ = 0, largest_ = 0;
  bool has_news_ = false;
  Blocks islands_;
};

TEST(PathMtu, ABlackHoleIsFoundAndPassed) {
  Start start = wide();
  start.ring = 1u << 22;
  Steps steps(start);
  BlackHole path(steps, 1100);
  steps.write(3'000'000);
  ASSERT_TRUE(path.carry(3'000'000));
  EXPECT_LE(steps.connection().info().snd_mss, 1100u);
  EXPECT_GE(steps.connection().info().snd_mss, 1100u - 32) << "the search found the most";
  EXPECT_GE(path.largest(), 1100u - 32);
}

// A path that carries nothing for a while looks the same at first.
TEST(PathMtu, AnOutageLeavesTheSizeAsItWas) {
  Steps steps(wide());
  steps.write(200'000).pass(seconds(4)).forget_output();
  ASSERT_LT(steps.connection().info().snd_mss, 1448u);
  BlackHole path(steps, 1448);
  ASSERT_TRUE(path.carry(150'000));
  EXPECT_EQ(steps.connection().info().snd_mss, 1448u);
}

// As many bytes as one segment before, so that one of them meets the end of a burst sooner.
TEST(PathMtu, TheThirdTimeoutRepeatsAsManyBytesInSmallerSegments) {
  Start start = wide();
  start.state.constant.sack = false;
  Steps steps(start);
  steps.write(10'000).pass(milliseconds(800)).forget_output();
  steps.pass(seconds(1));
  steps.expect({.seq = 0, .len = 1448, .resent = true, .gso = 724}).expect_none();
}

TEST(PathMtu, AProbeThatIsLostIsNoCongestion) {
  Steps steps(wide());
  BlackHole path(steps, 800);
  steps.write(100'000);
  ASSERT_TRUE(path.carry(40'000));
  const std::uint32_t before = steps.connection().info().cwnd_bytes;
  ASSERT_TRUE(path.carry(100'000));
  EXPECT_GE(steps.connection().info().cwnd_bytes, before);
  EXPECT_LE(steps.connection().info().snd_mss, 800u);
}

TEST(PathMtu, SmallSegmentsThatGoUnansweredAreNoBlackHole) {
  Steps steps(wide());
  steps.write(300);
  steps.pass(seconds(20)).forget_output();
  EXPECT_EQ(steps.connection().info().snd_mss, 1448u);
}

TEST(PathMtu, TwoTimeoutsAreNoBlackHole) {
  Steps steps(wide());
  steps.write(10'000).pass(milliseconds(800)).forget_output();
  EXPECT_EQ(steps.connection().info().snd_mss, 1448u);
}

TEST(PathMtu, NothingIsMadeSmallerThanEveryPathCarries) {
  Steps steps(wide());
  steps.write(10'000).pass(seconds(60)).forget_output();
  EXPECT_EQ(steps.connection().info().snd_mss, 524u);
}

// What the host learns goes before what was guessed.
TEST(PathMtu, ANewPathMtuOfTheHostEndsTheSearch) {
  Start start = wide();
  Steps steps(start);
  steps.write(10'000).pass(seconds(10)).forget_output();
  ASSERT_LT(steps.connection().info().snd_mss, 1448u);
  CachedState cached = start.state.cached;
  cached.path_mtu = 1400;
  steps.update(cached).forget_output();
  EXPECT_EQ(steps.connection().info().snd_mss, 1348u);
}

}  // namespace
}  // namespace snp::tcp::testing
