#include "snp/daemon/round_trip.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

TEST(RoundTrip, IsToldOnlyToThoseWhoKnowNothing) {
  RoundTrip known;
  DelegatedState measured;
  measured.srtt_us = 900;
  measured.rttvar_us = 300;
  measured.min_rtt_us = 100;
  known.learn(measured);
  known.learn(DelegatedState{});  // a refilled socket that moved before an answer came

  DelegatedState fresh;
  known.tell(fresh);
  EXPECT_EQ(fresh.srtt_us, 900u);
  EXPECT_EQ(fresh.rttvar_us, 300u);
  EXPECT_EQ(fresh.min_rtt_us, 100u);

  DelegatedState newer;
  newer.srtt_us = 500;
  known.tell(newer);
  EXPECT_EQ(newer.srtt_us, 500u);
  EXPECT_EQ(newer.min_rtt_us, 0u);
}

TEST(RoundTrip, NothingIsToldBeforeAnythingWasMeasured) {
  DelegatedState fresh;
  fresh.min_rtt_us = 7;
  RoundTrip{}.tell(fresh);
  EXPECT_EQ(fresh.srtt_us, 0u);
  EXPECT_EQ(fresh.min_rtt_us, 7u);
}

}  // namespace
}  // namespace snp::daemon
