#include "snp/daemon/accounts.h"

#include <array>
#include <map>

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

using stats::PathMetric;

// Only what is counted.
class FakeSteering final : public steer::Steering {
 public:
  Result<> attach(std::uint32_t) override { return {}; }
  Result<> detach(std::uint32_t) override { return {}; }
  Result<> rest(std::uint32_t) override { return {}; }
  void detach_all() noexcept override {}
  void disown() noexcept override {}
  Result<> set(const FourTuple&, steer::FlowSteering, std::uint32_t) override { return {}; }
  Result<> set(const FourTuple&, steer::FlowSteering, std::uint32_t, steer::AccountId) override {
    return {};
  }
  Result<> let_follow(const FourTuple&, std::uint32_t, steer::AccountId,
                      std::optional<SeqNum>) override {
    return {};
  }
  Result<> remove(const FourTuple&) override { return {}; }
  void recall(steer::AccountId) override {}
  void end_following() noexcept override {}
  Result<> distribute(const steer::Distribution&) override { return {}; }
  void move_bucket(std::uint32_t, std::uint32_t) override {}
  [[nodiscard]] std::vector<std::uint64_t> bucket_packets() const override { return {}; }
  [[nodiscard]] steer::AccountCounters counters(steer::AccountId account) const override {
    const auto found = counted.find(account);
    return found == counted.end() ? steer::AccountCounters{} : found->second;
  }
  [[nodiscard]] Result<steer::AccountCounters> counters(const FourTuple&) const override {
    return steer::AccountCounters{};
  }
  [[nodiscard]] int socket_filter_fd() const override { return -1; }
  [[nodiscard]] int fanout_fd() const override { return -1; }

  std::map<steer::AccountId, steer::AccountCounters> counted;
};

class AccountsTest : public testing::Test {
 protected:
  static constexpr std::array<std::uint32_t, 2> kDevices{7, 9};
  static constexpr std::uint32_t kMost = 4;  // accounts, nobody's among them
  static bool nobody(const ConnectionAccount&) { return false; }
  static bool everybody(const ConnectionAccount&) { return true; }
  static LedgerMemory make_memory() {
    auto made = LedgerMemory::create(kDevices);
    EXPECT_TRUE(made);
    return std::move(*made);
  }
  static host::SocketMark mark(std::uint32_t segments, std::uint64_t bytes) {
    host::SocketMark mark;
    mark.segments_in = mark.segments_out = segments;
    mark.bytes_received = mark.bytes_sent = bytes;
    return mark;
  }

  LedgerMemory ledger_ = make_memory();
  FakeSteering steering_;
  Accounts accounts_{ledger_, steering_, kMost};
};

TEST_F(AccountsTest, PathsAreOfDeviceAndFamily) {
  EXPECT_EQ(ledger_.paths(), 4u);
  EXPECT_EQ(ledger_.path_of(7, true), 1u);
  EXPECT_EQ(ledger_.path_of(9, false), 2u);
  EXPECT_EQ(ledger_.path_of(55, false), 0u);
}

// There and back: what each had carried stays with it.
TEST_F(AccountsTest, EachStayBelongsToWhoHadIt) {
  const auto id = accounts_.open({1, 2, 3}, 2, nobody);
  ASSERT_NE(id, steer::kNobodysAccount);
  ConnectionAccount& account = accounts_[id];
  leave_host(account, mark(10, 1000), 0, {500, 700}, 0, false);
  steering_.counted[id].taken_segments = 6;
  steering_.counted[id].taken_frames = 2;
  stats::add(ledger_.target_accounts()[id].segments_out, 4);
  AccountView view = accounts_.view(id, std::nullopt, Positions{800, 900});
  EXPECT_EQ(view.host.segments_in, 10u);
  EXPECT_EQ(view.host.bytes_out, 1000u);
  EXPECT_EQ(view.target.segments_in, 6u);
  EXPECT_EQ(view.target.segments_out, 4u);
  EXPECT_EQ(view.target.bytes_in, 300u);
  EXPECT_EQ(view.target.bytes_out, 200u);

  // Two of its frames were given back, one merged of three segments; and the host was told a thing
  // again.
  stats::TargetAccount& target = ledger_.target_accounts()[id];
  stats::add(target.reinjected_frames, 2);
  stats::add(target.reinjected_segments, 4);
  stats::add(target.forged_frames, 1);
  end_stay(ledger_, account, {800, 900});
  end_stay(ledger_, account, {9000, 9000});  // a second time it does nothing
  come_home(account, mark(0, 50), 0, 1);
  view = accounts_.view(id, mark(2 + 1 + 5, 150), std::nullopt);
  EXPECT_EQ(view.host.segments_in, 10u + 1 + (4 + 5)) << "filtered, given back, its own";
  EXPECT_EQ(view.target.segments_in, 2u);
  EXPECT_EQ(view.host.bytes_in, 1100u);
  EXPECT_EQ(view.target.bytes_in, 300u);
  EXPECT_EQ(ledger_.path_sum(2)[PathMetric::kStreamIn], 300u);
  EXPECT_EQ(ledger_.path_sum(0)[PathMetric::kStreamIn], 0u);
}

// What leaves the socket and not the host, between the fence and the mark.
TEST_F(AccountsTest, FencedSegmentsAreNobodys) {
  const auto id = accounts_.open({1, 2, 3}, 0, nobody);
  steering_.counted[id].fenced_segments = 2;
  leave_host(accounts_[id], mark(10, 0), 2, {}, 0, false);
  steering_.counted[id].fenced_segments = 5;  // of the parked socket, which no mark knows
  end_stay(ledger_, accounts_[id], {});
  come_home(accounts_[id], mark(0, 0), 5, 0);
  EXPECT_EQ(accounts_.view(id, mark(1, 0), std::nullopt).host.segments_out, 8u + 1);
}

TEST_F(AccountsTest, FoldingCountsEachFrameOnce) {
  const auto id = accounts_.open({1, 2, 3}, 3, nobody);
  steering_.counted[id].taken_frames = 6;
  std::uint64_t open = 0;
  const auto sum_open = [&](std::uint32_t path, PathMetric metric, std::uint64_t value) {
    EXPECT_EQ(path, 3u);
    EXPECT_EQ(metric, PathMetric::kTakenFrames);
    open += value;
  };
  accounts_.for_each_open(sum_open);
  EXPECT_EQ(open, 6u);
  accounts_.fold(id);
  accounts_.fold(id);
  EXPECT_EQ(ledger_.path_sum(3)[PathMetric::kTakenFrames], 6u);
  open = 0;
  accounts_.for_each_open(sum_open);
  EXPECT_EQ(open, 0u);
}

TEST_F(AccountsTest, AnAccountIsOfOneUseOfASlot) {
  const auto first = accounts_.open({1, 2, 3}, 0, nobody);
  EXPECT_EQ(accounts_.open({1, 2, 3}, 0, nobody), first);
  EXPECT_EQ(accounts_.find({1, 2, 3}), first);
  const auto second = accounts_.open({1, 2, 5}, 0, nobody);
  EXPECT_NE(second, first);
  EXPECT_NE(accounts_.open({1, 4, 1}, 0, nobody), steer::kNobodysAccount);
  EXPECT_EQ(accounts_.open({1, 5, 1}, 0, everybody), steer::kNobodysAccount) << "all are in use";
  // Those that are away stay, whoever asks.
  leave_host(accounts_[first], mark(1, 1), 0, {}, 0, false);
  steering_.counted[second].taken_frames = 5;
  stats::add(ledger_.target_accounts()[second].segments_out, 9);
  const auto again = accounts_.open({1, 5, 1}, 1, nobody);
  EXPECT_NE(again, steer::kNobodysAccount);
  EXPECT_EQ(accounts_.find({1, 2, 3}), first);
  EXPECT_EQ(accounts_.find({1, 2, 5}), steer::kNobodysAccount);
  const auto reused = again == second ? again : accounts_.open({1, 6, 1}, 1, everybody);
  ASSERT_EQ(reused, second);
  const AccountView view = accounts_.view(reused, mark(7, 70), Positions{});
  EXPECT_EQ(view.target.segments_out, 0u) << "it begins anew";
  EXPECT_EQ(view.host.segments_in, 7u);
  EXPECT_EQ(ledger_.path_sum(0)[PathMetric::kTakenFrames], 5u) << "of the one before";
}

// After a kill: the next books are made from the same memory.
TEST_F(AccountsTest, OutliveTheEngine) {
  std::vector<ipc::FlowRecord> records(2);
  const auto kept = accounts_.open({1, 2, 3}, 0, nobody);
  const auto lost = accounts_.open({1, 3, 3}, 0, nobody);
  leave_host(accounts_[kept], mark(10, 1000), 0, {500, 700}, 0, false);
  leave_host(accounts_[lost], mark(20, 2000), 0, {500, 700}, 1, false);
  DelegatedState state;
  state.snd_una = SeqNum(100);
  state.snd_max = SeqNum(160);  // a FIN behind the 59 bytes that are in flight
  records[1].tx_end = 759;
  records[1].snd_max = 160;
  ipc::commit(records[1], {700, 600, 0, state});
  Accounts next(ledger_, steering_, kMost);
  EXPECT_EQ(next.find({1, 2, 3}), kept);
  next.settle(records.data(), [](ipc::FlowId flow) { return flow == 0; });
  EXPECT_EQ(next.view(kept, std::nullopt, Positions{501, 700}).target.bytes_in, 1u);
  const AccountView view = next.view(lost, std::nullopt, std::nullopt);
  EXPECT_EQ(view.target.bytes_in, 100u);
  EXPECT_EQ(view.target.bytes_out, 59u);
  EXPECT_EQ(view.host.segments_in, 20u);
  EXPECT_NE(next.open({1, 9, 1}, 0, nobody), steer::kNobodysAccount);
}

}  // namespace
}  // namespace snp::daemon
