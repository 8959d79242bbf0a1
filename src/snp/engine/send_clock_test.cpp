#include "snp/engine/send_clock.h"

#include <gtest/gtest.h>

namespace snp::engine {
namespace {

using Held = SendClock::Held;

TEST(SendClock, BusyIsAllButIdle) {
  Instant now{seconds(5)};
  SendClock clock;
  clock.begin(now);
  const auto pass = [&](Held held, Duration time) {
    clock.note(held, now);
    now += time;
  };
  pass(Held::kIdle, seconds(1));
  pass(Held::kBusy, milliseconds(3));
  pass(Held::kBusy, milliseconds(4));
  pass(Held::kWindow, milliseconds(20));
  pass(Held::kBusy, milliseconds(1));
  pass(Held::kIdle, seconds(1));
  pass(Held::kBuffer, milliseconds(7));
  const SendClock::Times times = clock.times(now);
  EXPECT_EQ(times.busy_us, 35'000u);
  EXPECT_EQ(times.window_us, 20'000u);
  EXPECT_EQ(times.buffer_us, 7'000u) << "what runs counts, too";
  EXPECT_EQ(clock.times(now + milliseconds(1)).buffer_us, 8'000u);
  clock.begin(now);
  EXPECT_EQ(clock.times(now).busy_us, 0u);
}

}  // namespace
}  // namespace snp::engine
