#include "snp/engine/timing_wheel.h"

#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace snp::engine {
namespace {

constexpr Duration kTick{1 << 20};

struct Timer : WheelEntry {
  Instant deadline = kNever;
};

TEST(TimingWheel, FiresOnceAndNotBeforeItsMoment) {
  Instant now{seconds(5)};
  TimingWheel wheel(now);
  EXPECT_EQ(wheel.next_deadline(), kNever);
  WheelEntry entry;
  wheel.schedule(entry, now + milliseconds(10));
  EXPECT_TRUE(entry.is_scheduled());
  int fired = 0;
  const auto count = [&](WheelEntry&) { ++fired; };
  wheel.advance(now + milliseconds(10) - kTick, count);
  EXPECT_EQ(fired, 0);
  wheel.advance(now + milliseconds(10) + kTick, count);
  EXPECT_EQ(fired, 1);
  EXPECT_FALSE(entry.is_scheduled());
  wheel.advance(now + seconds(10), count);
  EXPECT_EQ(fired, 1);
}

TEST(TimingWheel, KeepsTheEarliestMomentAskedFor) {
  const Instant now{seconds(5)};
  TimingWheel wheel(now);
  WheelEntry entry;
  wheel.schedule(entry, now + milliseconds(100));
  wheel.schedule(entry, now + milliseconds(50));
  wheel.schedule(entry, now + milliseconds(200));
  wheel.schedule(entry, kNever);
  EXPECT_GE(wheel.next_deadline(), now + milliseconds(50) - kTick);
  EXPECT_LE(wheel.next_deadline(), now + milliseconds(50) + kTick);
}

TEST(TimingWheel, FarDeadlinesComeBackAtTheHorizon) {
  Instant now{seconds(5)};
  TimingWheel wheel(now);
  Timer timer;
  timer.deadline = now + seconds(60);
  wheel.schedule(timer, timer.deadline);
  int early = 0;
  Instant fired = kNever;
  while (fired == kNever) {
    ASSERT_NE(wheel.next_deadline(), kNever);
    now = wheel.next_deadline();
    wheel.advance(now, [&](WheelEntry& entry) {
      if (now >= timer.deadline) {
        fired = now;
      } else {
        ++early;
        wheel.schedule(entry, timer.deadline);
      }
    });
  }
  EXPECT_LE(fired, timer.deadline + kTick);
  EXPECT_LT(early, 60);
}

TEST(TimingWheel, AFiringEntryMayRemoveAndScheduleOthers) {
  const Instant now{seconds(5)};
  TimingWheel wheel(now);
  std::vector<std::unique_ptr<WheelEntry>> entries;
  for (int i = 0; i < 10; ++i) {
    entries.push_back(std::make_unique<WheelEntry>());
    wheel.schedule(*entries.back(), now + milliseconds(10));
  }
  int fired = 0;
  wheel.advance(now + milliseconds(20), [&](WheelEntry& entry) {
    ++fired;
    for (auto& other : entries)
      TimingWheel::remove(*other);
    wheel.schedule(entry, now);
  });
  EXPECT_EQ(fired, 1);
  EXPECT_LE(wheel.next_deadline(), now + milliseconds(20) + 2 * kTick) << "the past means: soon";
}

// Against a plain list: nothing fires early by its own deadline, nothing more than a tick late,
// and next_deadline() never lies behind the first of them.
TEST(TimingWheel, AgreesWithAPlainList) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Instant now{seconds(1)};
  TimingWheel wheel(now);
  std::vector<std::unique_ptr<Timer>> timers;
  timers.reserve(200);
  for (int i = 0; i < 200; ++i)
    timers.push_back(std::make_unique<Timer>());
  for (int round = 0; round < 5000; ++round) {
    Timer& timer = *timers[random() % timers.size()];
    switch (random() % 3) {
      case 0:
        timer.deadline = now + microseconds(random() % 5'000'000);
        wheel.schedule(timer, timer.deadline);
        break;
      case 1:
        timer.deadline = kNever;
        TimingWheel::remove(timer);
        break;
      default:
        now += microseconds(random() % 50'000);
    }
    wheel.advance(now, [&](WheelEntry& entry) {
      auto& fired = static_cast<Timer&>(entry);
      if (fired.deadline <= now)
        fired.deadline = kNever;
      else
        wheel.schedule(fired, fired.deadline);
    });
    for (const auto& other : timers) {
      ASSERT_GT(other->deadline, now - kTick) << "late";
      if (other->deadline != kNever) {
        ASSERT_LE(wheel.next_deadline(), other->deadline + kTick);
      }
    }
  }
}

}  // namespace
}  // namespace snp::engine
