#include "snp/tcp/timers.h"

#include <algorithm>
#include <map>

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

TEST(TimerTable, NextIsAlwaysTheEarliest) {
  EXPECT_TRUE(rc::check([] {
    TimerTable timers;
    std::map<int, Instant> model;
    const auto steps = *rc::gen::inRange(1, 60);
    for (int step = 0; step < steps; ++step) {
      const auto which = *rc::gen::inRange(0, 5);
      const auto timer = static_cast<Timer>(which);
      if (*rc::gen::inRange(0, 3) == 0) {
        timers.stop(timer);
        model.erase(which);
      } else {
        const Instant when(Duration(*rc::gen::inRange(0, 100)));
        timers.set(timer, when);
        model[which] = when;
      }
      Instant next = kNever;
      for (const auto& [key, when] : model)
        next = std::min(next, when);
      RC_ASSERT(timers.next() == next);
      RC_ASSERT(timers.is_running(timer) == (model.count(which) != 0));
    }
  }));
}

}  // namespace
}  // namespace snp::tcp
