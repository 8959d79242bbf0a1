#include "snp/daemon/running_timeout.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

constexpr Instant kStart{seconds(100)};

DelegatedState outstanding(std::uint32_t una, std::uint32_t max) {
  DelegatedState state;
  state.snd_una = SeqNum(una);
  state.snd_max = SeqNum(max);
  return state;
}

RunningTimeout running() {
  DelegatedState from = outstanding(1000, 5000);
  from.retransmit_delta_ms = 700;
  RunningTimeout timeout;
  timeout.learn(from, kStart);
  return timeout;
}

std::int32_t told(DelegatedState to, Duration later) {
  running().tell(to, kStart + later);
  return to.retransmit_delta_ms;
}

TEST(RunningTimeout, GoesOnThroughAStayInTheHost) {
  EXPECT_EQ(told(outstanding(1000, 5000), milliseconds(5)), 695);
  EXPECT_EQ(told(outstanding(1000, 9000), seconds(3)), 0) << "it has expired meanwhile";
  // A socket that was refilled counts a byte that was acknowledged long ago as outstanding.
  EXPECT_EQ(told(outstanding(999, 5000), milliseconds(5)), 695);
}

TEST(RunningTimeout, TheTailIsNotProbedAgain) {
  DelegatedState from = outstanding(1000, 5000);
  from.retransmit_delta_ms = 700;
  from.loss_probe_sent = true;
  RunningTimeout timeout;
  timeout.learn(from, kStart);
  DelegatedState to = outstanding(1000, 5000);
  timeout.tell(to, kStart);
  EXPECT_TRUE(to.loss_probe_sent);
  DelegatedState acknowledged = outstanding(2000, 5000);
  timeout.tell(acknowledged, kStart);
  EXPECT_FALSE(acknowledged.loss_probe_sent);
}

TEST(RunningTimeout, EndsWhenAnythingIsAcknowledgedOrTheHostHasSentAgain) {
  EXPECT_EQ(told(outstanding(1001, 5000), milliseconds(5)), -1);
  EXPECT_EQ(told(outstanding(1000, 1000), milliseconds(5)), -1);
  DelegatedState repeated = outstanding(1000, 5000);
  repeated.retransmits = 1;
  EXPECT_EQ(told(repeated, milliseconds(5)), -1);
}

TEST(RunningTimeout, IsNoneWhereNoneWasRunning) {
  RunningTimeout timeout = running();
  timeout.learn(outstanding(1000, 5000), kStart);
  DelegatedState to = outstanding(1000, 5000);
  timeout.tell(to, kStart);
  EXPECT_EQ(to.retransmit_delta_ms, -1);
}

}  // namespace
}  // namespace snp::daemon
