#include "snp/daemon/path_memo.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

constexpr Instant kStart{seconds(100)};

TEST(PathMemo, IsToldOnlyToThoseWhoKnowNothing) {
  PathMemo known;
  DelegatedState measured;
  measured.srtt_us = 900;
  measured.rttvar_us = 300;
  measured.min_rtt_us = 100;
  known.learn(measured, kStart);
  known.learn(DelegatedState{}, kStart);  // a refilled socket that moved before an answer came

  DelegatedState fresh;
  known.tell(fresh, kStart);
  EXPECT_EQ(fresh.srtt_us, 900u);
  EXPECT_EQ(fresh.rttvar_us, 300u);
  EXPECT_EQ(fresh.min_rtt_us, 100u);

  DelegatedState newer;
  newer.srtt_us = 500;
  known.tell(newer, kStart);
  EXPECT_EQ(newer.srtt_us, 500u);
  EXPECT_EQ(newer.min_rtt_us, 0u);
}

TEST(PathMemo, NothingIsToldBeforeAnythingWasMeasured) {
  DelegatedState fresh;
  fresh.min_rtt_us = 7;
  PathMemo{}.tell(fresh, kStart);
  EXPECT_EQ(fresh.srtt_us, 0u);
  EXPECT_EQ(fresh.min_rtt_us, 7u);
}

// A refilled socket has seen nothing yet, but what was seen of the path holds.
TEST(PathMemo, ReorderingOnceSeenIsTold) {
  PathMemo known;
  DelegatedState from;
  from.reordering_seen = true;
  known.learn(from, kStart);
  DelegatedState to;
  known.learn(to, kStart);
  known.tell(to, kStart);
  EXPECT_TRUE(to.reordering_seen);
  PathMemo{}.tell(from, kStart);
  EXPECT_TRUE(from.reordering_seen) << "the host's own";
}

// A stay in a host that has no model of the path: the target's is not lost, it is older.
TEST(PathMemo, TheModelOfAPathOutlivesAHostWithoutOne) {
  PathMemo known;
  DelegatedState from;
  from.path = {.bandwidth = 5'000'000,
               .inflight_longterm = 90'000,
               .min_rtt_us = 20'000,
               .min_rtt_age_ms = 700,
               .probe_rtt_age_ms = 65'000,
               .probe_bw_wait_ms = 900};
  known.learn(from, kStart);
  known.learn(DelegatedState{}, kStart + seconds(1));

  DelegatedState to;
  known.tell(to, kStart + milliseconds(600));
  EXPECT_EQ(to.path.bandwidth, 5'000'000u);
  EXPECT_EQ(to.path.inflight_longterm, 90'000u);
  EXPECT_EQ(to.path.min_rtt_us, 20'000u);
  EXPECT_EQ(to.path.min_rtt_age_ms, 1300u);
  EXPECT_EQ(to.path.probe_rtt_age_ms, 0xffffu) << "does not begin anew";
  EXPECT_EQ(to.path.probe_bw_wait_ms, 300u);

  DelegatedState late;
  known.tell(late, kStart + seconds(600));
  EXPECT_EQ(late.path.probe_bw_wait_ms, 0u);
  EXPECT_EQ(late.path.min_rtt_age_ms, 0xffffu);

  DelegatedState newer;
  newer.path.bandwidth = 1'000'000;
  known.tell(newer, kStart);
  EXPECT_EQ(newer.path.bandwidth, 1'000'000u) << "the host's own, later one";
}

// RFC 8257: with alpha forgotten, the first mark would halve the window.
TEST(PathMemo, TheMarkedShareIsPartOfTheModel) {
  PathMemo known;
  DelegatedState from;
  from.path.marked_share = 4000;
  known.learn(from, kStart);
  DelegatedState to;
  known.learn(to, kStart);
  known.tell(to, kStart);
  EXPECT_EQ(to.path.marked_share, 4000u);
}

}  // namespace
}  // namespace snp::daemon
