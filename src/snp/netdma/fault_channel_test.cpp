#include "snp/netdma/fault_channel.h"

#include <cstring>
#include <deque>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/netdma/cpu_channel.h"
#include "snp/netdma/thread_channel.h"

#include "test/support/channel_conformance.h"

namespace snp::netdma {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Faults : public testing::Test {
 protected:
  static constexpr std::uint32_t kBytes = 32;

  Faults() : channel_(open_cpu_channel(), {}) {
    for (std::size_t i = 0; i < source_.size(); ++i)
      source_[i] = static_cast<std::byte>(i + 1);
  }
  // Transfer number i copies piece i.
  std::size_t submit(std::size_t first, std::size_t count) {
    std::vector<Transfer> transfers;
    for (std::size_t i = first; i < first + count; ++i)
      transfers.push_back({&destination_[i * kBytes], &source_[i * kBytes], kBytes, 0, i});
    return channel_.submit(transfers);
  }
  std::vector<std::uint64_t> reap(std::map<std::uint64_t, Status>* statuses = nullptr) {
    std::array<Outcome, 64> outcomes;
    std::vector<std::uint64_t> contexts;
    const std::size_t count = channel_.reap(outcomes);
    for (std::size_t i = 0; i < count; ++i) {
      contexts.push_back(outcomes[i].context);
      if (statuses != nullptr) (*statuses)[outcomes[i].context] = outcomes[i].status;
    }
    return contexts;
  }
  [[nodiscard]] bool is_copied(std::size_t piece, std::uint32_t bytes = kBytes) const {
    return std::memcmp(&destination_[piece * kBytes], &source_[piece * kBytes], bytes) == 0;
  }

  FaultChannel channel_;
  std::array<std::byte, 64 * kBytes> source_{}, destination_{};
};

TEST_F(Faults, WithoutAFaultItIsTheInnerChannel) {
  EXPECT_EQ(channel_.name(), "cpu, with faults");
  EXPECT_EQ(channel_.state(), ChannelState::kArmed);
  EXPECT_EQ(submit(0, 4), 4u);
  EXPECT_EQ(channel_.outstanding(), 4u);
  EXPECT_THAT(reap(), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(channel_.state(), ChannelState::kIdle);
  EXPECT_TRUE(is_copied(0) && is_copied(3));
}

TEST_F(Faults, OneThatNeverFinishesHoldsBackTheOthersUntilAbort) {
  channel_.inject(CopyFault::kNever, 1);
  EXPECT_EQ(submit(0, 3), 3u);
  EXPECT_THAT(reap(), ElementsAre(0));
  EXPECT_THAT(reap(), IsEmpty());
  EXPECT_EQ(channel_.state(), ChannelState::kActive);
  channel_.abort();
  std::map<std::uint64_t, Status> statuses;
  EXPECT_THAT(reap(&statuses), ElementsAre(1, 2));
  EXPECT_EQ(statuses[1], Status::kAborted);
  EXPECT_EQ(statuses[2], Status::kDone);
  EXPECT_FALSE(is_copied(1));
  EXPECT_EQ(channel_.state(), ChannelState::kHalted);
  EXPECT_EQ(submit(3, 1), 0u);
  ASSERT_TRUE(channel_.reset());
  EXPECT_EQ(submit(3, 1), 1u);
  EXPECT_THAT(reap(), ElementsAre(3));
}

TEST_F(Faults, AnErrorLeavesHalfOfTheBytesAndHalts) {
  channel_.inject(CopyFault::kError);
  submit(0, 2);
  std::map<std::uint64_t, Status> statuses;
  EXPECT_THAT(reap(&statuses), ElementsAre(0, 1));
  EXPECT_EQ(statuses[0], Status::kFailed);
  EXPECT_TRUE(is_copied(0, kBytes / 2));
  EXPECT_FALSE(is_copied(0));
  EXPECT_EQ(channel_.state(), ChannelState::kHalted);
}

TEST_F(Faults, ALateOneIsReportedAgainAfterReset) {
  channel_.inject(CopyFault::kLate);
  submit(0, 1);
  EXPECT_THAT(reap(), IsEmpty());
  channel_.abort();
  EXPECT_THAT(reap(), ElementsAre(0));
  ASSERT_TRUE(channel_.reset());
  submit(1, 1);
  EXPECT_THAT(reap(), ElementsAre(0, 1));
  EXPECT_FALSE(is_copied(0));
}

TEST_F(Faults, DisorderLetsTheNextGoFirst) {
  channel_.inject(CopyFault::kDisorder, 1);
  submit(0, 4);
  EXPECT_THAT(reap(), ElementsAre(0, 2, 1, 3));
}

TEST_F(Faults, AFullQueueTakesNothing) {
  channel_.set_full(true);
  EXPECT_EQ(submit(0, 4), 0u);
  EXPECT_EQ(channel_.faults().full, 1u);
  channel_.set_full(false);
  EXPECT_EQ(submit(0, 4), 4u);
}

TEST_F(Faults, ARemovedOneGivesBackWhatItHadAndNeverComesBack) {
  channel_.inject(CopyFault::kNever);
  submit(0, 2);
  channel_.remove();
  EXPECT_EQ(channel_.state(), ChannelState::kRemoved);
  EXPECT_THAT(reap(), ElementsAre(0, 1));
  EXPECT_EQ(submit(2, 1), 0u);
  EXPECT_FALSE(channel_.reset());
  EXPECT_FALSE(channel_.suspend());
}

TEST(FaultChannel, ASeedRepeatsItself) {
  const CopyFaultConfig config{0.1, 0, 0.1, 0.2, 0.1, 42};
  std::array<std::byte, 64> memory{};
  CopyFaultCounters counters[2];
  for (CopyFaultCounters& each : counters) {
    FaultChannel channel(open_cpu_channel({1024}), config);
    for (std::uint64_t i = 0; i < 500; ++i) {
      const Transfer transfer{memory.data(), memory.data() + 32, 32, 0, i};
      channel.submit({&transfer, 1});
    }
    each = channel.faults();
  }
  EXPECT_GT(counters[0].never, 10u);
  EXPECT_GT(counters[0].disordered, 10u);
  EXPECT_GT(counters[0].full, 10u);
  EXPECT_EQ(std::memcmp(&counters[0], &counters[1], sizeof counters[0]), 0);
}

}  // namespace
}  // namespace snp::netdma

namespace snp::test {
namespace {

// Without a fault it keeps the contract, and it can be removed in use.
struct RemovableLab {
  static constexpr bool kCanRemove = true;
  netdma::Channel& channel() { return channel_; }
  void step() { std::this_thread::yield(); }
  void remove() { channel_.remove(); }
  netdma::FaultChannel channel_{std::move(*netdma::open_thread_channel()), {}};
};

INSTANTIATE_TYPED_TEST_SUITE_P(WithoutFaults, ChannelConformance, RemovableLab);

}  // namespace
}  // namespace snp::test
