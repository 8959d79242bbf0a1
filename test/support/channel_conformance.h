// What every copy channel promises (netdma/channel.h; reference 6.2 and 6.3, DMA-1 to DMA-8), as a
// test suite for backends. A backend instantiates it with a Lab: one channel, fresh.
//
//   struct Lab {
//     netdma::Channel& channel();
//     void step();                        // lets the engine work for a moment
//     static constexpr bool kCanRemove;   // and with it
//     void remove();                      // the provider goes, in use
//   };
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "snp/netdma/channel.h"

namespace snp::test {

using CopyBytes = std::vector<std::byte>;

template <class Lab>
class ChannelConformance : public testing::Test {
 protected:
  netdma::Channel& channel() { return lab_.channel(); }

  static CopyBytes noise(std::size_t size, std::uint32_t seed) {
    std::minstd_rand random(seed);
    CopyBytes bytes(size);
    for (std::byte& byte : bytes)
      byte = static_cast<std::byte>(random() >> 8);
    return bytes;
  }
  static netdma::Transfer copy(CopyBytes& to, const CopyBytes& from, std::uint64_t context,
                               std::uint32_t flags = 0) {
    return {to.data(), from.data(), static_cast<std::uint32_t>(from.size()), flags, context};
  }
  // Outcomes until nothing is outstanding, or nothing came for a long time.
  std::vector<netdma::Outcome> collect() {
    std::vector<netdma::Outcome> all;
    std::array<netdma::Outcome, 3> some;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (channel().outstanding() != 0 && std::chrono::steady_clock::now() < give_up) {
      const std::size_t count = channel().reap(some);
      all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
      if (count == 0) lab_.step();
    }
    return all;
  }
  static void expect_done_in_order(const std::vector<netdma::Outcome>& outcomes,
                                   std::uint64_t first, std::size_t count) {
    ASSERT_EQ(outcomes.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(outcomes[i].context, first + i);
      EXPECT_EQ(outcomes[i].status, netdma::Status::kDone);
    }
  }
  void submit_all(std::span<const netdma::Transfer> transfers) {
    ASSERT_EQ(channel().submit(transfers), transfers.size());
  }
  // Time in which an engine that should stand would give itself away.
  void linger() {
    for (int i = 0; i < 20; ++i) {
      lab_.step();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  // The channel works, from the first copy on.
  void expect_as_new() {
    EXPECT_EQ(channel().state(), netdma::ChannelState::kArmed);
    EXPECT_EQ(channel().outstanding(), 0u);
    const CopyBytes from = noise(5000, 77);
    CopyBytes to(from.size());
    submit_all(std::array{copy(to, from, 1234)});
    expect_done_in_order(collect(), 1234, 1);
    EXPECT_EQ(to, from);
  }

  Lab lab_;
};

TYPED_TEST_SUITE_P(ChannelConformance);

TYPED_TEST_P(ChannelConformance, StartsArmedAndEmpty) {
  auto& channel = this->channel();
  std::array<netdma::Outcome, 4> outcomes;
  EXPECT_FALSE(channel.name().empty());
  EXPECT_GE(channel.capabilities().depth, 4u);
  EXPECT_GE(channel.capabilities().largest_transfer, 4096u);
  EXPECT_EQ(channel.reap(outcomes), 0u);
  EXPECT_EQ(channel.submit({}), 0u);
  this->expect_as_new();
}

// DMA-1, DMA-2. Any number of appends; reported in order; armed, then active, then idle.
TYPED_TEST_P(ChannelConformance, CopiesEachByteAndReportsInOrder) {
  auto& channel = this->channel();
  std::vector<CopyBytes> from, to;
  std::vector<netdma::Outcome> outcomes;
  std::array<netdma::Outcome, 5> some;
  const std::uint32_t most = std::min(channel.capabilities().largest_transfer, 70000u);
  for (std::uint32_t i = 0; i < 400; ++i) {
    from.push_back(this->noise(1 + i * 7919 % most, i));
    to.emplace_back(from.back().size());
  }
  for (std::size_t i = 0; i < from.size();) {
    std::vector<netdma::Transfer> batch;
    for (std::size_t end = std::min(from.size(), i + 1 + i % 7); i + batch.size() < end;)
      batch.push_back(this->copy(to[i + batch.size()], from[i + batch.size()], i + batch.size()));
    const std::size_t taken = channel.submit(batch);
    ASSERT_LE(taken, batch.size());
    i += taken;
    if (taken == 0) this->lab_.step();
    const std::size_t count = channel.reap(some);
    outcomes.insert(outcomes.end(), some.begin(),
                    some.begin() + static_cast<std::ptrdiff_t>(count));
  }
  for (const netdma::Outcome& outcome : this->collect())
    outcomes.push_back(outcome);
  this->expect_done_in_order(outcomes, 0, from.size());
  EXPECT_EQ(to, from);
  EXPECT_EQ(channel.state(), netdma::ChannelState::kIdle);
}

TYPED_TEST_P(ChannelConformance, TakesAsManyAsItsDepth) {
  auto& channel = this->channel();
  ASSERT_TRUE(channel.suspend());
  const std::size_t depth = channel.capabilities().depth;
  const CopyBytes from = this->noise(64, 1);
  std::vector<CopyBytes> to(depth + 3, CopyBytes(64));
  std::vector<netdma::Transfer> batch;
  for (std::size_t i = 0; i < to.size(); ++i)
    batch.push_back(this->copy(to[i], from, i));
  EXPECT_EQ(channel.submit(batch), depth);
  EXPECT_EQ(channel.outstanding(), depth);
  EXPECT_EQ(channel.submit(batch), 0u);
  ASSERT_TRUE(channel.resume());
  this->expect_done_in_order(this->collect(), 0, depth);
  EXPECT_EQ(to[depth - 1], from);
  EXPECT_EQ(to[depth], CopyBytes(64));  // was not taken
}

TYPED_TEST_P(ChannelConformance, CopiesTheLargestTransfer) {
  const std::uint32_t size = std::min(this->channel().capabilities().largest_transfer, 8u << 20);
  const CopyBytes from = this->noise(size, 5);
  CopyBytes to(size + 1);
  this->submit_all(std::array{this->copy(to, from, 9)});
  this->expect_done_in_order(this->collect(), 9, 1);
  EXPECT_TRUE(std::equal(from.begin(), from.end(), to.begin()));
  EXPECT_EQ(to.back(), std::byte{0});
}

// DMA-5. Many without notification, then one null transfer that reports for all.
TYPED_TEST_P(ChannelConformance, ANullTransferCopiesNothingAndIsReported) {
  const CopyBytes from = this->noise(3000, 3);
  CopyBytes to(3000), untouched(3000);
  this->submit_all(std::array{
      netdma::Transfer{nullptr, nullptr, 0, netdma::transfer_flag::kNull, 1},
      this->copy(to, from, 2),
      this->copy(untouched, from, 3, netdma::transfer_flag::kNull),
  });
  this->expect_done_in_order(this->collect(), 1, 3);
  EXPECT_EQ(to, from);
  EXPECT_EQ(untouched, CopyBytes(3000));
}

// DMA-4. What one writes the next one reads.
TYPED_TEST_P(ChannelConformance, AFenceMakesTheNextOneSeeWhatThisOneWrote) {
  const std::uint32_t size = std::min(this->channel().capabilities().largest_transfer, 40000u);
  for (std::uint32_t round = 0; round < 20; ++round) {
    const CopyBytes a = this->noise(size, round);
    CopyBytes b(size), c(size);
    const CopyBytes last = this->noise(size, round + 1000);
    this->submit_all(std::array{this->copy(b, a, 1, netdma::transfer_flag::kFence),
                                this->copy(c, b, 2, netdma::transfer_flag::kFence),
                                this->copy(b, last, 3)});
    this->expect_done_in_order(this->collect(), 1, 3);
    EXPECT_EQ(c, a);
    EXPECT_EQ(b, last);
  }
}

// DMA-6. It stands between two transfers; the list may grow meanwhile.
TYPED_TEST_P(ChannelConformance, ASuspendedChannelStandsAndQueues) {
  auto& channel = this->channel();
  const CopyBytes from = this->noise(20000, 8);
  CopyBytes first(from.size()), second(from.size());
  this->submit_all(std::array{this->copy(first, from, 1)});
  ASSERT_TRUE(channel.suspend());
  EXPECT_EQ(channel.state(), netdma::ChannelState::kSuspended);
  // The current one is finished or has not begun.
  EXPECT_TRUE(first == from || first == CopyBytes(from.size()));
  const CopyBytes as_it_stood = first;
  ASSERT_TRUE(channel.suspend());  // again
  this->submit_all(std::array{this->copy(second, from, 2)});
  this->linger();
  EXPECT_EQ(first, as_it_stood);
  EXPECT_EQ(second, CopyBytes(from.size()));
  ASSERT_TRUE(channel.resume());
  ASSERT_TRUE(channel.resume());
  this->expect_done_in_order(this->collect(), 1, 2);
  EXPECT_EQ(first, from);
  EXPECT_EQ(second, from);
}

// DMA-7. When abort() returns, source and destination are the client's again.
TYPED_TEST_P(ChannelConformance, AbortLeavesOldTransfersAlone) {
  auto& channel = this->channel();
  const std::uint32_t size = std::min(channel.capabilities().largest_transfer, 1u << 20);
  const std::size_t count = std::min<std::size_t>(channel.capabilities().depth, 16);
  for (int round = 0; round < 5; ++round) {
    const CopyBytes from = this->noise(size, 4);
    std::vector<CopyBytes> to(count, CopyBytes(size));
    std::vector<netdma::Transfer> batch;
    for (std::size_t i = 0; i < count; ++i)
      batch.push_back(this->copy(to[i], from, i));
    this->submit_all(batch);
    channel.abort();
    const std::vector<CopyBytes> as_it_stood = to;
    EXPECT_EQ(channel.state(), netdma::ChannelState::kHalted);
    EXPECT_EQ(channel.submit(batch), 0u);
    this->linger();
    EXPECT_EQ(to, as_it_stood);
    const auto outcomes = this->collect();
    ASSERT_EQ(outcomes.size(), count);
    bool is_over = false;  // nothing is finished behind what is not
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(outcomes[i].context, i);
      is_over |= outcomes[i].status == netdma::Status::kAborted;
      EXPECT_EQ(outcomes[i].status, is_over ? netdma::Status::kAborted : netdma::Status::kDone);
      if (!is_over) {
        EXPECT_EQ(to[i], from);
      }
    }
    EXPECT_FALSE(channel.resume());
    ASSERT_TRUE(channel.reset());
    this->expect_as_new();
    ASSERT_TRUE(channel.reset());
  }
}

TYPED_TEST_P(ChannelConformance, ResetForgetsWhatWasOutstanding) {
  auto& channel = this->channel();
  const std::uint32_t size = std::min(channel.capabilities().largest_transfer, 1u << 20);
  const CopyBytes from = this->noise(size, 6);
  CopyBytes to(size);
  this->submit_all(std::array{this->copy(to, from, 1), this->copy(to, from, 2)});
  ASSERT_TRUE(channel.reset());
  const CopyBytes as_it_stood = to;
  this->linger();
  EXPECT_EQ(to, as_it_stood);
  std::array<netdma::Outcome, 4> outcomes;
  EXPECT_EQ(channel.reap(outcomes), 0u);
  this->expect_as_new();
}

// DMA-8. Power goes after what is outstanding is done; afterwards each channel is started anew.
TYPED_TEST_P(ChannelConformance, PowersDownAndUp) {
  auto& channel = this->channel();
  const CopyBytes from = this->noise(30000, 2);
  for (std::uint64_t round = 0; round < 3; ++round) {
    CopyBytes to(from.size());
    this->submit_all(std::array{this->copy(to, from, round)});
    this->expect_done_in_order(this->collect(), round, 1);
    EXPECT_EQ(to, from);
    ASSERT_TRUE(channel.suspend());
    this->linger();
    ASSERT_TRUE(channel.reset());
    EXPECT_EQ(channel.state(), netdma::ChannelState::kArmed);
  }
  this->expect_as_new();
}

// The provider goes with transfers outstanding: they are reported, and nothing is touched any more.
TYPED_TEST_P(ChannelConformance, ARemovedChannelGivesEverythingBack) {
  if constexpr (TypeParam::kCanRemove) {
    auto& channel = this->channel();
    const CopyBytes from = this->noise(50000, 2);
    std::vector<CopyBytes> to(4, CopyBytes(from.size()));
    std::vector<netdma::Transfer> batch;
    for (std::size_t i = 0; i < to.size(); ++i)
      batch.push_back(this->copy(to[i], from, i));
    this->submit_all(batch);
    this->lab_.remove();
    EXPECT_EQ(channel.state(), netdma::ChannelState::kRemoved);
    EXPECT_EQ(channel.submit(batch), 0u);
    const std::vector<CopyBytes> as_it_stood = to;
    const auto outcomes = this->collect();
    ASSERT_EQ(outcomes.size(), to.size());
    for (std::size_t i = 0; i < to.size(); ++i) {
      EXPECT_EQ(outcomes[i].context, i);
      if (outcomes[i].status == netdma::Status::kDone) {
        EXPECT_EQ(to[i], from);
      }
    }
    this->linger();
    EXPECT_EQ(to, as_it_stood);
    EXPECT_FALSE(channel.reset());
  } else {
    GTEST_SKIP() << "never goes";
  }
}

// Random operations; the bytes and the order against a queue.
TYPED_TEST_P(ChannelConformance, AnyProgramLeavesTheRightBytes) {
  auto& channel = this->channel();
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::uint32_t most = std::min(channel.capabilities().largest_transfer, 30000u);
  struct Expected {
    std::uint64_t context;
    CopyBytes from, to;
  };
  std::deque<Expected> expected;
  std::uint64_t next = 0;
  bool is_suspended = false;
  const auto reap = [&](std::size_t limit) {
    std::vector<netdma::Outcome> outcomes(limit);
    outcomes.resize(channel.reap(outcomes));
    for (const netdma::Outcome& outcome : outcomes) {
      ASSERT_FALSE(expected.empty());
      ASSERT_EQ(outcome.context, expected.front().context);
      ASSERT_EQ(outcome.status, netdma::Status::kDone);
      ASSERT_EQ(expected.front().to, expected.front().from);
      expected.pop_front();
    }
  };
  for (int step = 0; step < 600 && !testing::Test::HasFatalFailure(); ++step) {
    const auto what = random() % 20;
    if (what < 10) {
      const auto seed_of_bytes = static_cast<std::uint32_t>(random());
      expected.push_back({next, this->noise(random() % most + 1, seed_of_bytes), {}});
      expected.back().to.resize(expected.back().from.size());
      if (channel.submit(std::array{this->copy(expected.back().to, expected.back().from, next)}) ==
          1)
        ++next;
      else
        expected.pop_back();
    } else if (what < 17) {
      reap(random() % 9);
    } else if (what == 17) {
      ASSERT_TRUE(is_suspended ? channel.resume() : channel.suspend());
      is_suspended = !is_suspended;
    } else if (what == 18) {
      this->lab_.step();
    } else if (random() % 8 == 0) {
      ASSERT_TRUE(channel.reset());
      expected.clear();
      is_suspended = false;
    }
    ASSERT_EQ(channel.outstanding(), expected.size());
  }
  ASSERT_TRUE(channel.resume());
  for (int tries = 0; !expected.empty() && tries < 2'000'000; ++tries) {
    reap(4);
    this->lab_.step();
  }
  EXPECT_TRUE(expected.empty());
}

REGISTER_TYPED_TEST_SUITE_P(ChannelConformance, StartsArmedAndEmpty,
                            CopiesEachByteAndReportsInOrder, TakesAsManyAsItsDepth,
                            CopiesTheLargestTransfer, ANullTransferCopiesNothingAndIsReported,
                            AFenceMakesTheNextOneSeeWhatThisOneWrote,
                            ASuspendedChannelStandsAndQueues, AbortLeavesOldTransfersAlone,
                            ResetForgetsWhatWasOutstanding, PowersDownAndUp,
                            ARemovedChannelGivesEverythingBack, AnyProgramLeavesTheRightBytes);

}  // namespace snp::test
