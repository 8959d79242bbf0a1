// Paths that lose large packets in silence (RFC 4821, 8899).
#include <map>
#include <utility>

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
  // How many packets of each length were too long since the last look.
  std::map<std::uint32_t, int> take_lost() { return std::exchange(lost_, {}); }
  void become(std::uint32_t most) { most_ = most; }

 private:
  void arrive(std::uint32_t seq, std::uint32_t length) {
    if (length > most_) ++lost_[length];
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
  std::map<std::uint32_t, int> lost_;
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

// A connection whose path carries `most`: it has found that full segments do not get through, and
// searches on. Returns what was written.
std::uint32_t find_the_black_hole(Steps& steps, BlackHole& path) {
  steps.write(20'000);
  EXPECT_TRUE(path.carry(20'000));
  EXPECT_LT(steps.connection().info().snd_mss, 1448u);
  path.take_lost();
  return 20'000;
}

// Data until the search is over, no more. Returns what was written.
std::uint32_t search(Steps& steps, BlackHole& path, std::uint32_t written, std::uint32_t mss) {
  while (steps.connection().info().snd_mss != mss && written < 1'000'000) {
    steps.write(10'000);
    written += 10'000;
    EXPECT_TRUE(path.carry(written));
  }
  return written;
}

// RFC 8899 5.1.2: each size that is too large is tried three times. Halving goes from 724, which
// got through, to 1448: 1086 does, 1267, 1177, 1132 and 1109 do not, 1098 does. What is left, up to
// 1109, is less than 16 bytes: not worth another probe (RFC 4821 7.3).
TEST(PathMtu, TheSearchTriesThreeTimesAndEndsCloseToTheMost) {
  Start start = wide();
  start.ring = 1u << 22;
  Steps steps(start);
  BlackHole path(steps, 1100);
  std::uint32_t written = 20'000;
  steps.write(written);
  while (steps.connection().info().snd_mss == 1448)  // nothing of the full size arrives
    steps.forget_output().pass(milliseconds(10));
  written = search(steps, path, written, 1098);
  steps.write(200'000);
  ASSERT_TRUE(path.carry(written + 200'000));
  EXPECT_EQ(steps.connection().info().snd_mss, 1098u);
  const std::map<std::uint32_t, int> three_of_each{
      {1448, 3}, {1267, 3}, {1177, 3}, {1132, 3}, {1109, 3}};
  EXPECT_EQ(path.take_lost(), three_of_each);
}

// RFC 8899 5.1.1 PMTU_RAISE_TIMER: a path may become better, but is asked only every ten minutes.
TEST(PathMtu, EveryTenMinutesTheFullSizeIsTriedAgain) {
  Start start = wide();
  start.ring = 1u << 22;
  Steps steps(start);
  BlackHole path(steps, 1100);
  std::uint32_t written = search(steps, path, find_the_black_hole(steps, path), 1098);
  path.take_lost();
  const auto lost_after = [&](Duration pause) {
    steps.pass(pause);
    for (int i = 0; i < 40; ++i) {
      steps.write(10'000);
      EXPECT_TRUE(path.carry(written += 10'000));
    }
    return path.take_lost();
  };
  const std::map<std::uint32_t, int> none;
  const std::map<std::uint32_t, int> searched{{1448, 3}, {1273, 3}, {1186, 3},
                                              {1142, 3}, {1120, 3}, {1109, 3}};
  EXPECT_EQ(lost_after(seconds(598)), none);
  EXPECT_EQ(lost_after(seconds(2)), searched);  // the full size, then what lies between
  EXPECT_EQ(steps.connection().info().snd_mss, 1098u);
  path.become(1448);
  lost_after(seconds(590));
  EXPECT_EQ(steps.connection().info().snd_mss, 1098u);
  lost_after(seconds(10));
  EXPECT_EQ(steps.connection().info().snd_mss, 1448u);
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

// RFC 8200 5: IPv6 has no path below 1280 bytes.
TEST(PathMtu, OfIpv6EveryPathCarriesMore) {
  Start start = wide();
  start.state.constant.remote_mss = 1440;
  start.state.constant.tuple.remote.address =
      IpAddress{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
  Steps steps(start);
  ASSERT_EQ(steps.connection().info().snd_mss, 1428u);
  steps.write(10'000).pass(seconds(60)).forget_output();
  EXPECT_EQ(steps.connection().info().snd_mss, 1208u);
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
