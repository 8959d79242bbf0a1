// What a shard sees: copies that are done in order, whatever the engine does; and the rules of who
// copies (CFG-7: reference 6.4).
#include "snp/netdma/copier.h"

#include <random>

#include <gtest/gtest.h>

#include "snp/netdma/cpu_channel.h"
#include "snp/netdma/thread_channel.h"

#include "test/support/scripted_channel.h"

namespace snp::netdma {
namespace {

using Outcome = stats::CopyOutcome;
using M = stats::NetdmaMetric;
using test::ScriptedChannel;

CopierSettings on(std::uint32_t min_bytes = 0) {
  CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = min_bytes;
  settings.is_worth.fill(true);
  return settings;
}

class CopierTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kRing = 1u << 18;

  void open(const CopierSettings& settings = on(),
            netdma::Capabilities caps = {64, 1u << 20, false, true}) {
    auto channel = std::make_unique<ScriptedChannel>([this] { return now_; });
    channel_ = channel.get();
    channel_->caps = caps;
    copier_.emplace(std::move(channel), CopierLimits{}, [this] { return now_ += microseconds(1); });
    copier_->configure(settings);
  }
  // A copy of the next `bytes` of the source, to where they belong; by CPU if the copier says so.
  Copier::Ticket copy(std::uint32_t bytes) {
    const auto from = std::span(source_).subspan(begun_, bytes);
    const auto to = std::span(ring_).subspan(begun_, bytes);
    begun_ += bytes;
    if (!copier_->wants(bytes)) {
      std::copy(from.begin(), from.end(), to.begin());
      return 0;
    }
    // As a ring that wraps does it.
    const std::size_t first = bytes / 3;
    return copier_->start({to.first(first), to.subspan(first)}, from);
  }
  void run(Duration time) {
    for (const Instant end = now_ + time; now_ < end; now_ += microseconds(10)) {
      copier_->push();
      copier_->poll();
    }
  }
  // As finish(), but leaves the real CPU alone: only the clock of the test passes.
  void wait_for(Copier::Ticket ticket) {
    copier_->push();
    copier_->poll();
    if (copier_->is_done(ticket)) return;
    const Instant begin = now_;
    while (!copier_->is_done(ticket))
      copier_->poll();
    copier_->note_wait(now_ - begin);
  }
  [[nodiscard]] bool is_right() const {
    return std::equal(source_.begin(), source_.begin() + static_cast<std::ptrdiff_t>(begun_),
                      ring_.begin());
  }
  [[nodiscard]] stats::CopyCount counted(Outcome outcome) const {
    return copier_->stats().snapshot().of(outcome);
  }
  [[nodiscard]] std::uint64_t counted(M metric) const {
    return copier_->stats().snapshot().metrics[metric];
  }

  Instant now_{seconds(1000)};
  std::vector<std::byte> source_ = [] {
    std::minstd_rand random(4);
    std::vector<std::byte> bytes(kRing);
    for (std::byte& byte : bytes)
      byte = static_cast<std::byte>(random() >> 8 | 1);
    return bytes;
  }();
  std::vector<std::byte> ring_ = std::vector<std::byte>(kRing);
  std::size_t begun_ = 0;
  ScriptedChannel* channel_ = nullptr;
  std::optional<Copier> copier_;
};

TEST_F(CopierTest, IsOffWithoutAnEngineOrWhenNothingIsWorthIt) {
  Copier none(nullptr, {}, [this] { return now_; });
  none.configure(on());
  EXPECT_FALSE(none.is_active());
  none.poll();
  none.push();
  none.finish_all();

  open();
  EXPECT_TRUE(copier_->is_active());
  CopierSettings settings = on();
  settings.is_enabled = false;
  copier_->configure(settings);
  EXPECT_FALSE(copier_->is_active());
  settings = on();
  settings.is_worth.fill(false);
  copier_->configure(settings);
  EXPECT_FALSE(copier_->is_active());
  open(on(), {64, 1u << 20, true, true});  // memory that gives its pages back cannot be pinned
  EXPECT_FALSE(copier_->is_active());
}

TEST_F(CopierTest, SmallPacketsAreCopiedByTheCpu) {
  open(on(4096));
  EXPECT_EQ(copy(4095), 0u);
  EXPECT_NE(copy(4096), 0u);
  run(milliseconds(1));
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kSmall).bytes, 4095u);
  EXPECT_EQ(counted(Outcome::kEngine).bytes, 4096u);
  EXPECT_EQ(counted(Outcome::kEngine).copies, 1u);
}

TEST_F(CopierTest, SizesThatGainNothingAreCopiedByTheCpu) {
  CopierSettings settings = on();
  settings.is_worth[stats::size_class_of(9000)] = false;
  open(settings);
  EXPECT_EQ(copy(9000), 0u);
  EXPECT_NE(copy(20000), 0u);
  EXPECT_EQ(counted(Outcome::kNotWorth).bytes, 9000u);
}

// 6.4: "less room than this", so equal is not less; 0: never.
TEST_F(CopierTest, WaitsWhenLessRoomIsLeftThanTheThreshold) {
  CopierSettings settings = on();
  open(settings);
  EXPECT_FALSE(copier_->must_wait(0));
  settings.sync_below_bytes = 1000;
  copier_->configure(settings);
  EXPECT_TRUE(copier_->must_wait(999));
  EXPECT_FALSE(copier_->must_wait(1000));
  channel_->delay = microseconds(500);
  const auto ticket = copy(5000);
  copier_->finish(ticket);
  EXPECT_TRUE(copier_->is_done(ticket));
  EXPECT_TRUE(is_right());
  EXPECT_GE(counted(M::kWaitNs), 400'000u);
}

TEST_F(CopierTest, ACopyIsDoneWhenAndOnlyWhenItsBytesAreThere) {
  open();
  channel_->delay = microseconds(200);
  const auto first = copy(5000);
  const auto second = copy(7000);
  copier_->push();
  copier_->poll();
  EXPECT_FALSE(copier_->is_done(first));
  EXPECT_FALSE(copier_->is_idle());
  EXPECT_EQ(channel_->batches(), 1u);
  EXPECT_EQ(channel_->submitted(), 4u);  // each wraps
  run(microseconds(400));
  EXPECT_TRUE(copier_->is_done(first));
  EXPECT_TRUE(copier_->is_done(second));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
}

TEST_F(CopierTest, SplitsWhatIsLargerThanTheLargestTransfer) {
  open(on(), {64, 4096, false, true});
  copy(50'000);
  run(milliseconds(1));
  EXPECT_TRUE(is_right());
  EXPECT_EQ(channel_->submitted(), 14u);
  EXPECT_EQ(counted(Outcome::kEngine).copies, 1u);
  EXPECT_EQ(counted(Outcome::kEngine).bytes, 50'000u);
}

TEST_F(CopierTest, AFullQueueIsNotWaitedFor) {
  open(on(), {8, 1u << 20, false, true});
  channel_->delay = milliseconds(1);
  for (int i = 0; i < 10; ++i)
    copy(1000);
  EXPECT_EQ(counted(Outcome::kFull).copies, 6u);  // two pieces each
  run(milliseconds(2));
  EXPECT_EQ(counted(Outcome::kEngine).copies, 4u);
  EXPECT_TRUE(is_right());
}

// Its own limit is lower than it said, or somebody else uses it, too.
TEST_F(CopierTest, WhatTheChannelDoesNotTakeIsCopiedByTheCpu) {
  open();
  channel_->caps.depth = 3;
  channel_->delay = milliseconds(1);
  for (int i = 0; i < 4; ++i)
    copy(1000);
  run(milliseconds(2));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kEngine).copies, 1u);
  EXPECT_EQ(counted(Outcome::kFull).copies, 3u);
}

TEST_F(CopierTest, AnErrorIsRepairedAndTheEngineLeftAloneForAWhile) {
  open();
  channel_->fail_next = 1;
  copy(3000);
  copy(4000);
  run(milliseconds(1));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kFailed).copies, 1u);
  EXPECT_EQ(counted(Outcome::kEngine).copies, 1u);
  EXPECT_TRUE(copier_->is_quarantined());
  EXPECT_EQ(counted(M::kQuarantined), 1u);
  EXPECT_EQ(copy(3000), 0u);
  EXPECT_EQ(counted(Outcome::kNoEngine).copies, 1u);
  run(milliseconds(101));
  EXPECT_NE(copy(3000), 0u);
  run(milliseconds(1));
  EXPECT_TRUE(is_right());
  EXPECT_FALSE(copier_->is_quarantined());
  EXPECT_EQ(counted(M::kQuarantined), 0u);
  // It rests twice as long the next time.
  channel_->fail_next = 1;
  copy(3000);
  run(milliseconds(1));
  run(milliseconds(101));
  EXPECT_EQ(copy(3000), 0u);
  run(milliseconds(100));
  EXPECT_NE(copy(3000), 0u);
  EXPECT_EQ(counted(M::kQuarantines), 2u);
  EXPECT_EQ(counted(M::kResets), 2u);
}

TEST_F(CopierTest, AnErrorThatHaltsTheEngineLosesNothingBehindIt) {
  open();
  channel_->fail_next = 1;
  channel_->halts_on_failure = true;
  for (int i = 0; i < 5; ++i)
    copy(3000);
  run(milliseconds(1));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kFailed).copies, 5u);
  EXPECT_TRUE(copier_->is_quarantined());
}

TEST_F(CopierTest, ACopyThatNeverCompletesIsDoneByTheCpu) {
  open();
  copy(3000);
  run(milliseconds(1));
  channel_->is_stuck = true;
  const auto stuck = copy(3000);
  copy(5000);
  run(milliseconds(90));
  EXPECT_FALSE(copier_->is_done(stuck));
  run(milliseconds(20));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(channel_->aborts(), 1u);
  EXPECT_EQ(counted(Outcome::kLate).copies, 2u);
  EXPECT_EQ(counted(M::kAborts), 1u);
  EXPECT_TRUE(copier_->is_quarantined());
}

TEST_F(CopierTest, AWaitEndsWhateverTheEngineDoes) {
  open();
  channel_->is_stuck = true;
  const auto ticket = copy(3000);
  copier_->finish(ticket);
  EXPECT_TRUE(copier_->is_done(ticket));
  EXPECT_TRUE(is_right());
}

TEST_F(CopierTest, CompletionsOfOldCopiesMeanNothing) {
  open();
  channel_->is_stuck = true;
  channel_->reports_late = true;
  copy(3000);
  run(milliseconds(150));
  EXPECT_TRUE(copier_->is_idle());
  channel_->is_stuck = false;
  run(milliseconds(150));
  channel_->delay = milliseconds(1);
  const auto ticket = copy(3000);  // after a reset, and what it now reports is of the old one
  copier_->push();
  copier_->poll();
  EXPECT_FALSE(copier_->is_done(ticket));
  EXPECT_EQ(counted(M::kStrayCompletions), 2u);
  run(milliseconds(2));
  EXPECT_TRUE(copier_->is_done(ticket));
  EXPECT_TRUE(is_right());
}

TEST_F(CopierTest, CompletionsInDisorderDoNotDisorderTheCopies) {
  open();
  channel_->is_disordered = true;
  channel_->delay = microseconds(50);
  for (int i = 0; i < 20; ++i)
    copy(3000);
  run(milliseconds(1));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kEngine).copies, 20u);
}

TEST_F(CopierTest, ARemovedEngineLosesNothing) {
  open();
  channel_->delay = milliseconds(1);
  for (int i = 0; i < 5; ++i)
    copy(3000);
  copier_->push();
  channel_->remove();
  run(microseconds(100));
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  for (int i = 0; i < 5; ++i) {
    run(milliseconds(300));
    EXPECT_EQ(copy(3000), 0u);
  }
  EXPECT_TRUE(is_right());
  EXPECT_GE(counted(M::kResets), 2u);
}

TEST_F(CopierTest, StopFinishesEverything) {
  open();
  channel_->delay = milliseconds(1);
  copy(3000);
  copier_->push();
  copy(4000);  // not pushed
  copier_->stop();
  EXPECT_TRUE(copier_->is_idle());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(counted(Outcome::kStopped).copies, 2u);
  EXPECT_FALSE(copier_->is_active());
}

// DTO: the CPU's share grows while the caller waits, and goes when it does not.
TEST_F(CopierTest, TheShareFollowsTheWaiting) {
  open();
  channel_->delay = microseconds(100);
  const auto rounds = [&](int count, bool waits) {
    for (int i = 0; i < count; ++i) {
      begun_ = 0;
      const auto ticket = copy(60'000);
      if (waits)
        wait_for(ticket);
      else
        run(microseconds(300));
      ASSERT_TRUE(copier_->is_done(ticket));
      ASSERT_TRUE(is_right());
      std::fill(ring_.begin(), ring_.end(), std::byte{});
    }
  };
  rounds(64 * 5, true);
  EXPECT_EQ(copier_->share(), 5u);
  EXPECT_GT(counted(Outcome::kShare).bytes, 0u);
  rounds(64 * 20, true);
  EXPECT_EQ(copier_->share(), 12u);  // the engine keeps a part
  rounds(64 * 20, false);
  EXPECT_EQ(copier_->share(), 0u);
}

// An engine and a shard that work at the same time, each with its own speed: the share settles
// where neither waits much for the other, from both sides, and stays there.
TEST_F(CopierTest, TheShareSettlesWhereBothAreBusy) {
  constexpr std::uint32_t kBytes = 61'440;
  // What each needs for all of a copy, and the shard for the rest of a packet.
  struct Speeds {
    Duration engine, cpu, packet;
    std::uint32_t least, most;  // of the share, once it has settled
  };
  const Speeds cases[] = {
      {microseconds(40), microseconds(40), microseconds(60), 0, 0},   // the packet hides the engine
      {microseconds(160), microseconds(80), microseconds(40), 5, 9},  // it takes a part
      {microseconds(900), microseconds(40), microseconds(10), 12, 12},  // most of it
  };
  for (const Speeds& speeds : cases) {
    open();
    std::vector<std::uint32_t> shares;
    for (int window = 0; window < 60; ++window) {
      for (int i = 0; i < 64; ++i) {
        begun_ = 0;
        const std::uint32_t share = copier_->share();
        channel_->delay = speeds.engine * (16 - share) / 16;
        const auto ticket = copy(kBytes);
        copier_->push();
        now_ += speeds.cpu * share / 16 + speeds.packet;  // the shard's own work
        wait_for(ticket);
      }
      shares.push_back(copier_->share());
    }
    const auto [least, most] = std::minmax_element(shares.begin() + 30, shares.end());
    EXPECT_GE(*least, speeds.least);
    EXPECT_LE(*most, speeds.most);
    EXPECT_LE(*most - *least, 1u) << "it swings";
  }
}

// Whatever happens in whatever order: each copy is done, and right.
TEST_F(CopierTest, AnyMisfortuneLeavesTheRightBytes) {
  const std::uint32_t first_seed = std::random_device{}();
  for (std::uint32_t seed = first_seed; seed < first_seed + 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    open(on(static_cast<std::uint32_t>(random() % 2000)),
         {1u << (2 + random() % 6), 4096u << random() % 4, false, true});
    channel_->random_delay = [&] { return microseconds(random() % 300); };
    channel_->is_disordered = random() % 3 == 0;
    channel_->reports_late = random() % 2 == 0;
    for (int round = 0; round < 40; ++round) {
      begun_ = 0;
      std::fill(ring_.begin(), ring_.end(), std::byte{});
      while (begun_ + 20'000 < kRing) {
        copy(static_cast<std::uint32_t>(1 + random() % 20'000));
        if (random() % 3 == 0) run(microseconds(random() % 200));
        if (random() % 200 == 0) channel_->fail_next = random() % 3 == 0 ? 2 : 1;
        if (random() % 300 == 0) channel_->is_stuck = true;
      }
      copier_->finish_all();
      ASSERT_TRUE(copier_->is_idle());
      ASSERT_TRUE(is_right());
      channel_->is_stuck = false;
      channel_->halts_on_failure = random() % 2 == 0;
      if (random() % 4 == 0) run(milliseconds(400));
    }
  }
}

template <class Open>
void copy_over_and_over(Open&& open) {
  CopierLimits limits;
  limits.patience = seconds(60);  // a machine that does something else makes no engine late
  Copier copier(open(), limits, [start = std::chrono::steady_clock::now()] {
    return Instant(std::chrono::steady_clock::now() - start);
  });
  copier.configure(on());
  std::vector<std::byte> from(1 << 16), to(1 << 16);
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto bytes = static_cast<std::uint32_t>(1 + random() % from.size());
    std::fill_n(from.begin(), bytes, static_cast<std::byte>(i));
    if (!copier.wants(bytes)) continue;
    const auto ticket =
        copier.start({std::span(to).first(bytes), {}}, std::span(from).first(bytes));
    copier.finish(ticket);
    ASSERT_TRUE(copier.is_done(ticket));
    ASSERT_TRUE(std::equal(from.begin(), from.begin() + bytes, to.begin()));
  }
  const auto counts = copier.stats().snapshot();
  EXPECT_EQ(counts.of(Outcome::kEngine).copies, 2000u);
  EXPECT_EQ(counts.metrics[M::kStrayCompletions], 0u);
}

TEST(Copier, WorksOverEachBackend) {
  copy_over_and_over([] { return open_cpu_channel(); });
  copy_over_and_over([] { return std::move(*open_thread_channel()); });
}

}  // namespace
}  // namespace snp::netdma
