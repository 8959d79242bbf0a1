#include "snp/daemon/path_memo.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

constexpr Instant kStart{seconds(100)};

TEST(PathMemo, IsToldOnlyToThoseWhoKnowNothing) {
  PathMemo known;
  ConnectionState measured;
  measured.delegated.srtt_us = 900;
  measured.delegated.rttvar_us = 300;
  measured.delegated.min_rtt_us = 100;
  known.learn(measured, kStart);
  known.learn(ConnectionState{}, kStart);  // a refilled socket that moved before an answer came

  ConnectionState fresh;
  known.tell(fresh, kStart);
  EXPECT_EQ(fresh.delegated.srtt_us, 900u);
  EXPECT_EQ(fresh.delegated.rttvar_us, 300u);
  EXPECT_EQ(fresh.delegated.min_rtt_us, 100u);

  ConnectionState newer;
  newer.delegated.srtt_us = 500;
  known.tell(newer, kStart);
  EXPECT_EQ(newer.delegated.srtt_us, 500u);
  EXPECT_EQ(newer.delegated.min_rtt_us, 0u);
}

TEST(PathMemo, NothingIsToldBeforeAnythingWasMeasured) {
  ConnectionState fresh;
  fresh.delegated.min_rtt_us = 7;
  PathMemo{}.tell(fresh, kStart);
  EXPECT_EQ(fresh.delegated.srtt_us, 0u);
  EXPECT_EQ(fresh.delegated.min_rtt_us, 7u);
}

// A refilled socket has seen nothing yet, but what was seen of the path holds.
TEST(PathMemo, ReorderingOnceSeenIsTold) {
  PathMemo known;
  ConnectionState from;
  from.delegated.reordering_seen = true;
  known.learn(from, kStart);
  ConnectionState to;
  known.learn(to, kStart);
  known.tell(to, kStart);
  EXPECT_TRUE(to.delegated.reordering_seen);
  PathMemo{}.tell(from, kStart);
  EXPECT_TRUE(from.delegated.reordering_seen) << "the host's own";
}

// A stay in a host that has no model of the path: the target's is not lost, it is older.
TEST(PathMemo, TheModelOfAPathOutlivesAHostWithoutOne) {
  PathMemo known;
  ConnectionState from;
  from.path = {.bandwidth = 5'000'000,
               .inflight_longterm = 90'000,
               .min_rtt_us = 20'000,
               .min_rtt_age_ms = 700,
               .probe_rtt_age_ms = 65'000,
               .probe_bw_wait_ms = 900};
  known.learn(from, kStart);
  known.learn(ConnectionState{}, kStart + seconds(1));

  ConnectionState to;
  known.tell(to, kStart + milliseconds(600));
  EXPECT_EQ(to.path.bandwidth, 5'000'000u);
  EXPECT_EQ(to.path.inflight_longterm, 90'000u);
  EXPECT_EQ(to.path.min_rtt_us, 20'000u);
  EXPECT_EQ(to.path.min_rtt_age_ms, 1300u);
  EXPECT_EQ(to.path.probe_rtt_age_ms, 0xffffu) << "does not begin anew";
  EXPECT_EQ(to.path.probe_bw_wait_ms, 300u);

  ConnectionState late;
  known.tell(late, kStart + seconds(600));
  EXPECT_EQ(late.path.probe_bw_wait_ms, 0u);
  EXPECT_EQ(late.path.min_rtt_age_ms, 0xffffu);

  ConnectionState newer;
  newer.path.bandwidth = 1'000'000;
  known.tell(newer, kStart);
  EXPECT_EQ(newer.path.bandwidth, 1'000'000u) << "the host's own, later one";
}

// RFC 8257: with alpha forgotten, the first mark would halve the window.
TEST(PathMemo, TheMarkedShareIsPartOfTheModel) {
  PathMemo known;
  ConnectionState from;
  from.path.marked_share = 4000;
  known.learn(from, kStart);
  ConnectionState to;
  known.learn(to, kStart);
  known.tell(to, kStart);
  EXPECT_EQ(to.path.marked_share, 4000u);
}

// The host is told of smaller segments, and that is what it says the peer takes.
TEST(PathMemo, TheSearchForThePathsMtuGoesOnAfterAStayInTheHost) {
  PathMemo known;
  ConnectionState from;
  from.constant.remote_mss = 1460;
  from.cached.path_mtu = 1500;
  from.mtu_search = {.mss_limit = 730, .mss_high = 1460};
  known.learn_search(from);

  ConnectionState to;
  to.constant.remote_mss = 730;
  to.cached.path_mtu = 1500;
  known.tell(to, kStart);
  EXPECT_EQ(to.constant.remote_mss, 1460u);
  EXPECT_EQ(to.mtu_search.mss_limit, 730u);
  EXPECT_EQ(to.mtu_search.mss_high, 1460u);

  ConnectionState told;  // by ICMP, meanwhile
  told.cached.path_mtu = 1400;
  known.tell(told, kStart);
  EXPECT_EQ(told.mtu_search.mss_limit, 0u);

  from.mtu_search = {};  // larger ones got through after all
  known.learn_search(from);
  to.mtu_search = {};
  known.tell(to, kStart);
  EXPECT_EQ(to.mtu_search.mss_limit, 0u);
}

}  // namespace
}  // namespace snp::daemon
