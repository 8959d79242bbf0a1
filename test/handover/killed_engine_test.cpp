// The engine is dead and has left a connection behind, in each state of RFC 9293, with bytes on
// their way or none: the keeper brings it home, and both ends get every byte and the end of the
// stream, and nobody a reset.
#include <string>
#include <thread>
#include <tuple>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snp/daemon/record_journal.h"
#include "snp/host/socket_calls.h"
#include "snp/ipc/slot_gate.h"
#include "snp/wire/segment.h"

#include "test/handover/recovery_lab.h"

namespace snp::test {
namespace {

using daemon::Aim;

// What the state says: who has sent a FIN, and whether ours was acknowledged.
struct Ends {
  bool ours = false, acknowledged = false, theirs = false;
};

constexpr Ends ends_of(TcpState state) {
  return {has_sent_fin(state), state == TcpState::kFinWait2 || state == TcpState::kTimeWait,
          has_received_fin(state)};
}

class LeftBehind : public RecoveryLab {
 protected:
  // A connection that the engine has carried to `state`. `unread`: received and not read;
  // `to_send`: sent and lost, our FIN with it unless it was acknowledged.
  void leave_behind(TcpState state, const Bytes& unread, const Bytes& to_send) {
    const Ends ends = ends_of(state);
    if (!unread.empty()) {
      write_all(c_.peer.get(), unread);
      wait_for_unread(unread.size());
    }
    if (ends.acknowledged) {
      ::shutdown(c_.host.get(), SHUT_WR);
      ASSERT_TRUE(wait_for_state(c_.host.get(), host::kKernelFinWait2));
    }
    close_gate_and_hold();
    const auto parked = park_socket();
    ASSERT_TRUE(parked) << parked.error().message;
    open_gate_to_rings();

    ConnectionState now = parked->state;
    daemon::complete(now, path_);
    DelegatedState& d = now.delegated;
    StreamRange tx_range = parked->tx_range;
    tx().copy_in(tx_range.end, to_send);
    tx_range.end += to_send.size();
    d.state = state;
    d.snd_max = d.snd_una + static_cast<std::uint32_t>(to_send.size()) +
                (ends.ours && !ends.acknowledged ? 1u : 0u);
    d.snd_nxt = d.snd_max;
    // The engine has it and has acknowledged it; what our side says of that is lost.
    if (ends.theirs) {
      ::shutdown(c_.peer.get(), SHUT_WR);
      d.rcv_nxt = d.rcv_wup = d.rcv_nxt + 1;
    }
    ipc::store_state(record_, now, parked->rx_range, tx_range, 0);
    slot_.app.tx_head = tx_range.end;
    slot_.engine.rx_head = parked->rx_range.end;
    if (ends.ours) slot_.app.flags = ipc::slot_flag::kShutdownWrite;
    if (ends.theirs) slot_.engine.status = ipc::slot_status::kPeerClosed;
  }

  void close_application() { c_.host.reset(); }

  // The peer reads everything and the end of it, and is done with the connection.
  void expect_peer_ends(const Bytes& expected, bool shuts) {
    if (shuts) ::shutdown(c_.peer.get(), SHUT_WR);
    EXPECT_EQ(read_some(c_.peer.get(), expected.size()), expected);
    EXPECT_TRUE(is_at_end_of_file(c_.peer.get()));
    EXPECT_TRUE(wait_for_state(c_.peer.get(), host::kKernelClose))
        << int{kernel_state(c_.peer.get())};
  }

  static void expect_no_reset(WireTap& tap) {
    for (const WireTap::Seen& seen : tap.take())
      EXPECT_FALSE((seen.flags & TcpFlags::kRst) != 0) << (seen.from_left ? "host" : "peer");
  }
};

enum class Data { kNone, kBoth };
using Case = std::tuple<TcpState, Data, Family>;

class KilledEngine : public LeftBehind, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    const auto [state, data, family] = GetParam();
    connect(family);
    ends_ = ends_of(state);
    if (data == Data::kBoth && !ends_.acknowledged) to_send_ = pattern(1, 20000);
  }

  Ends ends_;
  Bytes to_send_;
};

TEST_P(KilledEngine, TheApplicationGoesOn) {
  const auto [state, data, family] = GetParam();
  const Bytes unread = data == Data::kBoth ? pattern(2, 5000) : Bytes{};
  WireTap tap(lab_.net());
  ASSERT_NO_FATAL_FAILURE(leave_behind(state, unread, to_send_));
  const auto report = recover(Aim::kForGood);
  EXPECT_EQ(report.home, 1u);
  EXPECT_EQ(ipc::mode_of(slot_.engine.mode_word), ipc::SlotMode::kInHost);
  EXPECT_EQ(read_some(c_.host.get(), unread.size()), unread);
  Bytes later;
  if (!ends_.ours) write_all(c_.host.get(), later = pattern(3, 3000));
  if (!ends_.theirs) {
    const Bytes reply = pattern(4, 3000);
    write_all(c_.peer.get(), reply);
    EXPECT_EQ(read_some(c_.host.get(), reply.size()), reply);
    ::shutdown(c_.peer.get(), SHUT_WR);
  }
  EXPECT_TRUE(is_at_end_of_file(c_.host.get()));
  if (!ends_.ours) ::shutdown(c_.host.get(), SHUT_WR);
  expect_peer_ends(to_send_ + later, false);
  expect_no_reset(tap);
}

// The application has closed, and the engine has died before it heard of that.
TEST_P(KilledEngine, TheKernelFinishesWhatTheApplicationHasClosed) {
  WireTap tap(lab_.net());
  ASSERT_NO_FATAL_FAILURE(leave_behind(std::get<0>(GetParam()), {}, to_send_));
  slot_.app.flags |= ipc::slot_flag::kClosed;
  daemon::Kept kept = keep();
  close_application();
  EXPECT_EQ(recover(kept, Aim::kForGood).finished, 1u);
  EXPECT_NE(slot_.engine.status & ipc::slot_status::kReleased, 0u) << "the slot is free again";
  expect_peer_ends(to_send_, !ends_.theirs);
  expect_no_reset(tap);
}

// The same, but the engine knew, and the slot may be another connection's already.
TEST_P(KilledEngine, TheKernelFinishesWhatTheEngineFinished) {
  WireTap tap(lab_.net());
  ASSERT_NO_FATAL_FAILURE(leave_behind(std::get<0>(GetParam()), {}, to_send_));
  record_.slot = ipc::kNoSlot;
  slot_.app.in_use = 3;
  slot_.app.flags = 0;
  slot_.engine.status = 0;
  slot_.app.tx_head = slot_.app.rx_tail = ipc::kFirstPosition;
  ipc::set_mode(slot_, ipc::SlotMode::kInHost);
  daemon::Kept kept = keep();
  close_application();
  EXPECT_EQ(recover(kept, Aim::kForGood).finished, 1u);
  EXPECT_EQ(slot_.engine.status, 0u);
  expect_peer_ends(to_send_, !ends_.theirs);
  expect_no_reset(tap);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const auto [state, data, family] = info.param;
  std::string name = to_string(state);
  std::erase(name, '_');
  return name + (data == Data::kBoth ? "Data" : "Empty") + (family == Family::kV6 ? "V6" : "V4");
}

INSTANTIATE_TEST_SUITE_P(States, KilledEngine,
                         testing::Combine(testing::Values(TcpState::kEstablished,
                                                          TcpState::kFinWait1, TcpState::kFinWait2,
                                                          TcpState::kCloseWait, TcpState::kClosing,
                                                          TcpState::kLastAck, TcpState::kTimeWait),
                                          testing::Values(Data::kNone, Data::kBoth),
                                          testing::Values(Family::kV4, Family::kV6)),
                         name_of);

class KilledAt : public LeftBehind {
 protected:
  void SetUp() override { connect(Family::kV4); }
};

// The shard stores the highest number sent before a segment leaves, and the state after it.
TEST_F(KilledAt, TheMomentWhenTheFinHasLeft) {
  WireTap tap(lab_.net());
  const Bytes to_send = pattern(1, 3000);
  for (const TcpState state : {TcpState::kEstablished, TcpState::kCloseWait}) {
    if (state == TcpState::kCloseWait) connect(Family::kV6);
    ASSERT_NO_FATAL_FAILURE(leave_behind(state, {}, to_send));
    slot_.app.flags |= ipc::slot_flag::kShutdownWrite;
    record_.snd_max = record_.snd_max + 1;
    EXPECT_EQ(recover(Aim::kForGood).home, 1u);
    expect_peer_ends(to_send, state == TcpState::kEstablished);
    slot_.app.flags = 0;
    slot_.engine.status = 0;
  }
  expect_no_reset(tap);
}

// CLOSED after both FINs, unread bytes left: nothing but them and the end is to come.
TEST_F(KilledAt, TheEndOfALastAck) {
  const Bytes unread = pattern(2, 5000);
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kTimeWait, unread, {}));
  ipc::FlowSnapshot over = ipc::snapshot_of(record_);
  over.delegated.state = TcpState::kClosed;
  ipc::commit(record_, over);
  EXPECT_EQ(recover(Aim::kForGood).home, 1u);
  EXPECT_EQ(read_some(c_.host.get(), unread.size()), unread);
  EXPECT_TRUE(is_at_end_of_file(c_.host.get()));
}

// The peer's reset had come, or nothing any more: the application gets what was there, then the
// error, also when the engine had not told it yet.
TEST_F(KilledAt, TheMomentOfAReset) {
  WireTap tap(lab_.net());
  const Bytes unread = pattern(2, 5000);
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, unread, pattern(1, 100)));
  ipc::FlowSnapshot dead = ipc::snapshot_of(record_);
  dead.delegated.state = TcpState::kClosed;
  ipc::commit(record_, dead);
  EXPECT_EQ(recover(Aim::kForGood).home, 1u);
  EXPECT_EQ(read_some(c_.host.get(), unread.size()), unread);
  char byte = 0;
  pollfd readable{c_.host.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 4000), 1);
  EXPECT_EQ(::recv(c_.host.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET);
  for (const WireTap::Seen& seen : tap.take())
    EXPECT_EQ(seen.payload_bytes != 0 && seen.from_left, false) << "a dead connection says nothing";
}

// RFC 2525 2.17: SO_LINGER 0, or unread bytes.
TEST_F(KilledAt, AnAbort) {
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, {}, {}));
  slot_.app.flags |= ipc::slot_flag::kClosed | ipc::slot_flag::kAbort;
  daemon::Kept kept = keep();
  close_application();
  EXPECT_EQ(recover(kept, Aim::kForGood).finished, 1u);
  char byte = 0;
  pollfd readable{c_.peer.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 4000), 1);
  EXPECT_EQ(::recv(c_.peer.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// The process has died with its socket, so the keeper's descriptor is the last, and SO_LINGER would
// make its close() wait for a peer that acknowledges nothing.
TEST_F(KilledAt, TheDeathOfAProgramThatLingers) {
  const linger how{1, 600};
  ::setsockopt(c_.host.get(), SOL_SOCKET, SO_LINGER, &how, sizeof how);
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, {}, pattern(1, 100000)));
  daemon::Kept kept = keep();
  close_application();
  NetnsLab::run_in(lab_.net().right(),
                   {"nft",
                    "add table ip deaf { chain everything { type filter hook input priority 0; "
                    "policy drop; }; }"});
  EXPECT_EQ(recover(kept, Aim::kForGood).home, 1u) << "and in no time";
}

// What the application writes behind its own FIN never was part of the stream.
TEST_F(KilledAt, NonsenseBehindAFin) {
  const Bytes to_send = pattern(1, 3000);
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kFinWait1, {}, to_send));
  slot_.app.tx_head += 50;
  EXPECT_EQ(recover(Aim::kForGood).home, 1u);
  EXPECT_EQ(slot_.engine.reason, static_cast<std::uint16_t>(chimney::Reason::kHostile));
  expect_peer_ends(to_send, true);
}

TEST_F(KilledAt, AMomentWhenTheNextEngineCanGoOn) {
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, pattern(2, 500), pattern(1, 3000)));
  daemon::Kept kept = keep();
  const auto report = recover(kept, Aim::kResume);
  EXPECT_EQ(report.waiting, 1u);
  EXPECT_EQ(kept.sockets.size(), 1u);
  EXPECT_EQ(record_.status, ipc::FlowStatus::kOffloaded);
  EXPECT_EQ(ipc::mode_of(slot_.engine.mode_word), ipc::SlotMode::kOffloaded);
  // It closes before that engine is there: the slot is the connection's until then.
  slot_.app.flags |= ipc::slot_flag::kClosed;
  daemon::Kept again = keep();
  close_application();
  kept.sockets.clear();
  EXPECT_EQ(recover(again, Aim::kResume).finished, 1u) << "nobody is left to resume for";
}

// A call is inside the gate, its process is not given the CPU: what it does must not get lost.
TEST_F(KilledAt, AMomentWhenACallIsInsideTheGate) {
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, {}, {}));
  daemon::Kept kept = keep();
  kept.programs[kArena]->pidfd.reset(::eventfd(0, 0));  // readable never: the process lives
  slot_.app.users = 1;
  EXPECT_EQ(recover(kept, Aim::kHome).waiting, 1u);
  EXPECT_EQ(ipc::mode_of(slot_.engine.mode_word), ipc::SlotMode::kOffloaded);
  // A little later the call writes, and ends in the middle of the next try.
  std::thread call([this] {
    while (ipc::mode_of(slot_.engine.mode_word) != ipc::SlotMode::kUploading)
      std::this_thread::yield();
    tx().copy_in(slot_.app.tx_head, pattern(1, 700));
    slot_.app.tx_head += 700;
    slot_.app.users = 0;
  });
  EXPECT_EQ(recover(kept, Aim::kHome).home, 1u);
  call.join();
  EXPECT_EQ(read_some(c_.peer.get(), 700), pattern(1, 700));
}

class KeepersWakeUps : public LeftBehind {
 protected:
  static constexpr ipc::WaitSetId kHostile = 1, kHonest = 2;

  void SetUp() override {
    connect(Family::kV4);
    slot_.app.wait_sets[0] = kHostile;
    slot_.app.wait_sets[1] = kHonest;
    slot_.app.wait_sets[2] = 60000;  // no wait set at all
  }

  // Nobody else closes it, unlike a descriptor that is given away.
  daemon::Kept keep_with(int hostile) {
    daemon::Kept kept = keep();
    daemon::keep_wait_set(*kept.programs[kArena], kHostile, UniqueFd(::dup(hostile)));
    daemon::keep_wait_set(*kept.programs[kArena], kHonest, UniqueFd(::dup(honest_.get())));
    for (const ipc::WaitSetId id : {kHostile, kHonest})
      daemon::wait_set_at(arena_, id).sleeping = 1;
    return kept;
  }

  UniqueFd honest_{::eventfd(0, EFD_NONBLOCK)};
};

// Filled to the brim, O_NONBLOCK taken back: write() would block for good.
TEST_F(KeepersWakeUps, AFullEventfdBlocksNobody) {
  const UniqueFd full(::eventfd(0, 0));
  const std::uint64_t brim = ~0ull - 1;
  ASSERT_EQ(::write(full.get(), &brim, sizeof brim), 8);
  ASSERT_NO_FATAL_FAILURE(leave_behind(TcpState::kEstablished, {}, {}));
  daemon::Kept kept = keep_with(full.get());
  EXPECT_EQ(recover(kept, Aim::kHome).home, 1u);
  std::uint64_t count = 0;
  EXPECT_EQ(::read(honest_.get(), &count, sizeof count), 8) << "the others are woken";
  EXPECT_EQ(count, 1u);
}

}  // namespace
}  // namespace snp::test
