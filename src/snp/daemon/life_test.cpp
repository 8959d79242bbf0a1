#include "snp/daemon/life.h"

#include <linux/tcp.h>

#include <gtest/gtest.h>

#include "snp/ipc/tcp_info.h"

namespace snp::daemon {
namespace {

constexpr std::uint32_t kUse = 1;

class Life : public testing::Test {
 protected:
  static host::SocketMark mark(std::uint64_t received, std::uint64_t acked, std::uint64_t sent) {
    host::SocketMark mark;
    mark.tcp.bytes_received = received;
    mark.tcp.bytes_acked = acked;
    mark.tcp.bytes_sent = sent;
    return mark;
  }
  [[nodiscard]] TcpCounters at_target(const LifePositions& at) const {
    return ipc::told_at_target(
        life_, {at.received, at.acked, at.sent, at.has_peers_fin, at.is_fin_acknowledged});
  }
  [[nodiscard]] TcpCounters in_host(const host::SocketMark& now) const {
    tcp_info info{};
    put_counters(now.tcp, info);
    ipc::add_earlier_life(life_, &info, sizeof info);
    return counters_in(info);
  }
  static void expect(const TcpCounters& told, std::uint64_t received, std::uint64_t acked,
                     std::uint64_t sent) {
    EXPECT_EQ(told.bytes_received, received);
    EXPECT_EQ(told.bytes_acked, acked);
    EXPECT_EQ(told.bytes_sent, sent);
  }

  ipc::SlotLife life_;
};

TEST_F(Life, GoesOnThereAndBackAndThereAgain) {
  leave_host(life_, kUse, mark(500, 300, 340), 0, {1000, 2000, 2040});
  expect(at_target({1000, 2000, 2040}), 500, 300, 340);
  LifePositions at{1010, 2050, 2060};
  expect(at_target(at), 510, 350, 360);
  // The refilled socket holds 7 unread bytes, and a byte that its peer has.
  come_home(life_, mark(7, 1, 0), at);
  expect(in_host(mark(7, 0, 0)), 510, 350, 360);
  expect(in_host(mark(7, 1, 0)), 510, 350, 360);
  expect(in_host(mark(9, 11, 5)), 512, 360, 365);
  leave_host(life_, kUse, mark(9, 11, 5), 0, {1012, 2060, 2065});
  expect(at_target({1013, 2061, 2066}), 513, 361, 366);
}

TEST_F(Life, ASlotThatIsUsedAnewBeginsAtNothing) {
  leave_host(life_, kUse, mark(500, 300, 340), 0, {});
  leave_host(life_, kUse + 2, mark(5, 3, 3), 0, {});
  expect(at_target({}), 5, 3, 3);
}

TEST_F(Life, WhatDoesNotLeaveAfterAllCountsOn) {
  leave_host(life_, kUse, mark(500, 300, 340), 0, {1000, 2000, 2040});
  expect(in_host(mark(501, 302, 343)), 501, 302, 343);
}

TEST_F(Life, LeavesAgainBeforeTheSocketHasHeardWhatItsPeerHas) {
  leave_host(life_, kUse, mark(0, 100, 100), 0, {0, 1000, 1000});
  come_home(life_, mark(0, 1, 0), {0, 1000, 1000});
  leave_host(life_, kUse, mark(0, 0, 0), 0, {0, 999, 1000});
  expect(at_target({0, 999, 1000}), 0, 100, 100);
  expect(at_target({0, 1001, 1001}), 0, 101, 101);
}

TEST_F(Life, AFinCountsOnceWhoeverHasIt) {
  LifePositions at{1000, 2000, 2000, true, false};  // CLOSE_WAIT
  leave_host(life_, kUse, mark(501, 300, 300), 0, at);
  expect(at_target(at), 501, 300, 300);
  come_home(life_, mark(20, 0, 0), at);
  expect(in_host(mark(20, 0, 0)), 501, 300, 300);
  expect(in_host(mark(21, 0, 0)), 501, 300, 300);  // the forged one

  at = {1000, 2000, 2000, false, true};  // FIN_WAIT_2
  leave_host(life_, kUse + 2, mark(500, 301, 300), 0, at);
  expect(at_target(at), 500, 301, 300);
  come_home(life_, mark(0, 0, 0), at);
  expect(in_host(mark(0, 1, 0)), 500, 301, 300);
}

TEST_F(Life, WhatIsSentAgainAndWhatNeverLeftIsTold) {
  host::SocketMark now = mark(0, 100, 180);
  now.tcp.bytes_retrans = 30;
  leave_host(life_, kUse, now, 20, {0, 1000, 1030});  // 20 of them ended at the fence
  EXPECT_EQ(at_target({0, 1000, 1030}).bytes_sent, 160u);
  TcpCounters counted = load(life_.counted);
  counted.bytes_retrans += 5;
  store(life_.counted, counted);
  EXPECT_EQ(at_target({0, 1000, 1030}).bytes_sent, 165u);
  host::SocketMark home = mark(0, 0, 0);
  home.tcp.bytes_retrans -= 10;  // to be sent once more
  come_home(life_, home, {0, 1000, 1030});
  const TcpCounters told = in_host(mark(0, 0, 10));
  EXPECT_EQ(told.bytes_sent, 175u);
  EXPECT_EQ(told.bytes_retrans, 45u);
}

// All that was written counts as arrived; on the way home the reader's socket does not take it all.
TEST_F(Life, ALocalConnectionGivesBytesBackToTheWriter) {
  leave_host(life_, kUse, mark(40, 50, 50), 0, {1000, 2000, 2000});
  chimney::Handoff mine;
  mine.rx_range = {1000, 1100};
  mine.tx_range = {2300, 2400};
  mine.state.delegated.fin_pending = true;
  chimney::Handoff peers;
  peers.tx_range = {1100, 1200};
  const LifePositions told = told_when_local(mine, peers);
  expect(at_target(told), 240, 451, 450);
  come_home(life_, mark(100, 0, 0), life_positions(mine), told);
  expect(in_host(mark(100, 0, 0)), 240, 451, 450);
  expect(in_host(mark(200, 101, 100)), 240, 451, 450);  // all of it, and the FIN
  expect(in_host(mark(201, 101, 100)), 241, 451, 450);
}

}  // namespace
}  // namespace snp::daemon
