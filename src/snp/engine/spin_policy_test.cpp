#include "snp/engine/spin_policy.h"

#include <gtest/gtest.h>

namespace snp::engine {
namespace {

TEST(SpinPolicy, SpinsWhileItPaysAndNeverForItsOwnCpu) {
  SpinPolicy policy(microseconds(30));
  EXPECT_EQ(policy.budget(false), microseconds(30)) << "gives it a chance";
  EXPECT_EQ(policy.budget(true), Duration(0));
  for (int i = 0; i < 20; ++i)
    policy.on_idle_end(milliseconds(10));
  EXPECT_EQ(policy.budget(false), Duration(0)) << "idle machines do not spin";
  for (int i = 0; i < 5; ++i)
    policy.on_idle_end(microseconds(20));
  EXPECT_EQ(policy.budget(false), microseconds(30));
}

TEST(SpinPolicy, CanBeSwitchedOff) {
  SpinPolicy policy(Duration(0));
  policy.on_idle_end(Duration(0));
  EXPECT_EQ(policy.budget(false), Duration(0));
}

}  // namespace
}  // namespace snp::engine
