// Shards come into use and out of it with the load (profile conservative).
#include "snp/daemon/receive_scaling.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

// The table and nothing else.
class FakeSteering final : public steer::Steering {
 public:
  Result<> attach(std::uint32_t /*ifindex*/) override { return {}; }
  Result<> detach(std::uint32_t /*ifindex*/) override { return {}; }
  Result<> rest(std::uint32_t /*ifindex*/) override { return {}; }
  void detach_all() noexcept override {}
  void disown() noexcept override {}
  Result<> set(const FourTuple& /*flow*/, steer::FlowSteering /*state*/,
               std::uint32_t /*shard*/) override {
    return {};
  }
  Result<> let_follow(const FourTuple& /*flow*/, std::uint32_t /*shard*/,
                      steer::AccountId /*account*/, std::optional<SeqNum> /*next*/) override {
    return {};
  }
  Result<> remove(const FourTuple& /*flow*/) override { return {}; }
  void recall(steer::AccountId /*account*/) override {}
  void end_following() noexcept override {}
  Result<> distribute(const steer::Distribution& distribution) override {
    table.assign(distribution.shards.begin(), distribution.shards.end());
    return {};
  }
  void move_bucket(std::uint32_t bucket, std::uint32_t shard) override { table[bucket] = shard; }
  [[nodiscard]] std::vector<std::uint64_t> bucket_packets() const override {
    return std::vector<std::uint64_t>(table.size());
  }
  Result<> set(const FourTuple& /*flow*/, steer::FlowSteering /*state*/, std::uint32_t /*shard*/,
               steer::AccountId /*account*/) override {
    return {};
  }
  [[nodiscard]] steer::AccountCounters counters(steer::AccountId /*account*/) const override {
    return {};
  }
  [[nodiscard]] Result<steer::AccountCounters> counters(const FourTuple& /*flow*/) const override {
    return steer::AccountCounters{};
  }
  [[nodiscard]] int socket_filter_fd() const override { return -1; }
  [[nodiscard]] int fanout_fd() const override { return -1; }

  std::vector<std::uint32_t> table;
};

class ReceiveScalingTest : public testing::Test {
 protected:
  ReceiveScalingTest() {
    EXPECT_TRUE(values.set("shards", "4"));
    EXPECT_TRUE(values.set("rss_profile", "conservative"));
    EXPECT_TRUE(scaling.follow());
  }
  // So many seconds in which each shard in use is that busy.
  void pass(int rounds, double busy) {
    for (int i = 0; i < rounds; ++i) {
      now += seconds(1);
      load = busy;
      for (const rss::BucketMove& move : scaling.balance(false, now).moves)
        scaling.move(move);
    }
  }
  [[nodiscard]] std::set<std::uint32_t> used() const {
    return {steering.table.begin(), steering.table.end()};
  }

  FakeSteering steering;
  settings::Settings values;
  Instant now{seconds(1)};
  double load = 0;
  ReceiveScaling scaling{
      steering, values, rss::kVerificationKey, [this](Instant) {
        return std::map<std::uint32_t, double>{{0, load}, {1, load}, {2, load}, {3, load}};
      }};
};

TEST_F(ReceiveScalingTest, OneShardIsEnoughUntilItIsNot) {
  EXPECT_EQ(used(), std::set<std::uint32_t>{0});
  pass(5, 0.6);
  EXPECT_EQ(used(), std::set<std::uint32_t>{0});
  pass(2, 0.95);
  EXPECT_EQ(used(), (std::set<std::uint32_t>{0, 1}));
  EXPECT_EQ(std::ranges::count(steering.table, 1u), std::ranges::count(steering.table, 0u));
  pass(20, 0.95);
  EXPECT_EQ(used(), (std::set<std::uint32_t>{0, 1, 2, 3}));
}

TEST_F(ReceiveScalingTest, AnIdleShardGivesItsBucketsAway) {
  pass(20, 0.95);
  ASSERT_EQ(used().size(), 4u);
  pass(11, 0.05);
  EXPECT_EQ(used(), (std::set<std::uint32_t>{0, 1, 2}));
  pass(40, 0.05);
  EXPECT_EQ(used(), std::set<std::uint32_t>{0});
}

TEST_F(ReceiveScalingTest, OtherProfilesUseAllShards) {
  ASSERT_TRUE(values.set("rss_profile", "closest"));
  ASSERT_TRUE(scaling.follow());
  EXPECT_EQ(used().size(), 4u);
  pass(40, 0.01);
  EXPECT_EQ(used().size(), 4u);
}

}  // namespace
}  // namespace snp::daemon
