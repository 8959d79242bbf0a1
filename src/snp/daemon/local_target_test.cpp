// The local target and its pairs, on memory alone: no socket is moved, the programs are this test.
#include "snp/daemon/local_target.h"

#include <array>
#include <cstring>
#include <string>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "snp/daemon/peer_index.h"
#include "snp/daemon/slot_access.h"
#include "snp/ipc/control_protocol.h"

namespace snp::daemon {
namespace {

constexpr std::size_t kPairBytes = 1ull << 26;
constexpr std::uint32_t kRing = 4096;

// An attached process, as far as books go.
struct TestProgram {
  explicit TestProgram(std::uint32_t number)
      : arena{.number = number,
              .memory = std::move(*make_arena(1ull << 26, 1)),
              .wait_set_fds = {},
              .bells = {},
              .is_blocking = false},
        program(number, ::getpid(), "test", UniqueFd(::eventfd(0, 0)), UniqueFd(), arena) {}
  // A slot in use.
  SlotUse open(ipc::SlotId id) {
    program.slot(id).app.in_use.store(1);
    return {program.number, id, 1};
  }
  engine::Arena arena;
  Program program;
};

struct Events final : chimney::TargetEvents {
  void initiated(chimney::ConnectionId id) override {
    log += "initiated " + std::to_string(id) + " ";
  }
  void terminated(chimney::ConnectionId id, const chimney::Handoff& handoff) override {
    log += "terminated " + std::to_string(id) + " ";
    handoffs[id] = handoff;
  }
  void refused(chimney::ConnectionId, TcpState) override { log += "refused "; }
  void upload_requested(chimney::ConnectionId id, chimney::Reason reason) override {
    log += "upload " + std::to_string(id) + " ";
    EXPECT_EQ(reason, chimney::Reason::kPeerMoves);
  }
  void expected(chimney::ConnectionId) override { log += "expected "; }
  void moved_out(chimney::ConnectionId) override { log += "moved "; }
  void finished(chimney::ConnectionId id) override {
    log += "finished " + std::to_string(id) + " ";
  }
  std::string take() { return std::exchange(log, {}); }
  std::string log;
  std::map<chimney::ConnectionId, chimney::Handoff> handoffs;
};

class LocalTargetTest : public testing::Test {
 protected:
  LocalTargetTest() {
    programs_ = {{1, &one_.program}, {2, &two_.program}};
    for (std::size_t side = 0; side < 2; ++side)
      ends_[side] = {static_cast<ipc::FlowId>(10 + side), side == 0 ? &one_.program : &two_.program,
                     side == 0 ? one_.open(3) : two_.open(5)};
  }

  Pairs::Surroundings surroundings() {
    return {
        *loop_,
        keeper_,
        [this](const Program& program, std::span<const std::byte> message, std::span<const int>) {
          ipc::MessageHeader header;
          std::memcpy(&header, message.data(), sizeof header);
          told_[program.number].push_back(header.kind);
          return true;
        },
        [this](const Program&) { return is_full_; },
        [](int eventfd) {
          const std::uint64_t n = 1;
          return ::write(eventfd, &n, sizeof n) == sizeof n;
        },
        [this](std::uint32_t number) { return programs_.at(number); }};
  }

  static UniqueFd keeper_end() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()),
              0);
    static UniqueFd other;
    other.reset(fds[1]);
    return UniqueFd(fds[0]);
  }

  Pair& pair() { return **pairs_.between(one_.program, two_.program, kPairBytes); }

  // An end as two sockets that had exchanged everything would be dumped and settled.
  chimney::Handoff handoff(std::size_t side, std::string_view unread, std::string_view unsent) {
    chimney::Handoff h;
    h.id = ends_[side].flow;
    h.rx = {rings_[side][0].data(), kRing};
    h.tx = {rings_[side][1].data(), kRing};
    h.rx.copy_in(0, std::as_bytes(std::span(unread)));
    h.tx.copy_in(0, std::as_bytes(std::span(unsent)));
    h.rx_range = {0, unread.size()};
    h.tx_range = {0, unsent.size()};
    h.state.delegated.rcv_nxt = side == 0 ? SeqNum(1000) : SeqNum(0xfffffff0);
    h.state.delegated.snd_una = side == 0 ? SeqNum(0xfffffff0) : SeqNum(1000);
    records_[h.id].memo.receive_buffer = 2 * kRing;
    return h;
  }

  void carry() {
    Pair& p = pair();
    local_.couple(p, *pairs_.seat(p, kRing), ends_);
    local_.initiate(handoff(0, "to-one:unread", "to-two:unsent"));
    EXPECT_FALSE(local_.has_answers()) << "it takes both";
    local_.initiate(handoff(1, "to-two:unread,", ""));
    local_.dispatch(events_);
    EXPECT_EQ(events_.take(), "initiated 10 initiated 11 ");
  }
  ipc::PairConnection& connection() {
    return pair().connection(records_[ends_[0].flow].place.index);
  }
  static std::string text(const StreamRing& ring, const StreamRange& range) {
    std::string out(range.length(), '\0');
    ring.copy_out(range.begin, std::as_writable_bytes(std::span(out)));
    return out;
  }
  void take_home() {
    for (std::size_t side = 0; side < 2; ++side)
      local_.terminate(ends_[side].flow, Duration::zero());
    local_.dispatch(events_);
  }

  std::unique_ptr<EventLoop> loop_ = std::move(*EventLoop::open());
  KeeperLink keeper_{keeper_end()};
  TestProgram one_{1}, two_{2};
  std::unordered_map<std::uint32_t, Program*> programs_;
  std::map<std::uint32_t, std::vector<ipc::MessageKind>> told_;
  bool is_full_ = false;
  std::array<LocalTarget::End, 2> ends_;
  std::array<std::array<std::array<std::byte, kRing>, 2>, 2> rings_{};
  std::vector<ipc::FlowRecord> records_ = std::vector<ipc::FlowRecord>(20);
  Events events_;
  Pairs pairs_{surroundings()};
  std::uint64_t past_bytes_ = 0;
  LocalTarget local_{pairs_, records_.data(), past_bytes_};
};

TEST_F(LocalTargetTest, JoinsTheQueuesAndTellsWhereTheyAre) {
  carry();
  const ipc::PairPlace& place = records_[10].place;
  EXPECT_EQ(records_[10].status.load(), ipc::FlowStatus::kLocal);
  EXPECT_EQ(records_[11].place.peer, 10u);
  EXPECT_EQ(place.tx_base, SeqNum(0xfffffff0) - 14);
  EXPECT_EQ(place.tx_ring, records_[11].place.rx_ring);
  const ipc::SlotEngineSide& slot = two_.program.slot(5).engine;
  EXPECT_EQ(slot.pair, place.pair);
  EXPECT_EQ(slot.pair_side, 1);
  EXPECT_EQ(slot.rx_ring, place.tx_ring);
  EXPECT_EQ(text({pair().memory.data() + place.tx_ring, kRing},
                 {ipc::kFirstPosition, connection().end[0].tx_head.load()}),
            "to-two:unread,to-two:unsent");
  EXPECT_EQ(told_[1], std::vector{ipc::MessageKind::kPair});
  EXPECT_EQ(told_[2], std::vector{ipc::MessageKind::kPair});
}

TEST_F(LocalTargetTest, ComesApartWhereItStands) {
  carry();
  // The second reads a little; the first shuts down.
  ASSERT_TRUE(ipc::commit(connection().end[1].rx_tail, ipc::kFirstPosition, 7));
  ASSERT_TRUE(ipc::add_flags(connection().end[0].flags, ipc::pair_flag::kEnd));
  local_.terminate(10, Duration::zero());
  local_.dispatch(events_);
  EXPECT_EQ(events_.take(), "upload 11 ");
  EXPECT_TRUE(ipc::commit(connection().end[0].rx_tail, ipc::kFirstPosition, 0)) << "not frozen yet";
  local_.terminate(11, Duration::zero());
  local_.dispatch(events_);
  EXPECT_EQ(events_.take(), "terminated 10 terminated 11 ");
  EXPECT_FALSE(ipc::commit(connection().end[0].tx_head, ipc::kFirstPosition + 27, 1));
  const chimney::Handoff& a = events_.handoffs[10];
  const chimney::Handoff& b = events_.handoffs[11];
  EXPECT_EQ(text(b.rx, b.rx_range) + text(a.tx, a.tx_range), "unread,to-two:unsent");
  EXPECT_EQ(text(a.rx, a.rx_range), "to-one:unread");
  EXPECT_TRUE(a.state.delegated.fin_pending);
  EXPECT_FALSE(b.state.delegated.fin_pending);
  EXPECT_EQ(b.state.delegated.rcv_nxt, a.state.delegated.snd_una);
  EXPECT_EQ(a.state.delegated.snd_una, SeqNum(0xfffffff0) + 13);
  EXPECT_FALSE(local_.last_words(10).is_hostile);
}

TEST_F(LocalTargetTest, ImpossibleWordsHurtOnlyThisConnection) {
  for (const std::uint64_t nonsense :
       {std::uint64_t{0}, ipc::kFirstPosition - 1, ipc::kFirstPosition + 3 * kRing,
        ~std::uint64_t{0}, ipc::kFrozen}) {
    carry();
    connection().end[0].tx_head.store(nonsense);
    EXPECT_TRUE(local_.traffic(10).has_value());
    local_.trim();
    take_home();
    EXPECT_TRUE(local_.last_words(10).is_hostile) << nonsense;
    for (const ipc::FlowId id : {10u, 11u}) {
      EXPECT_EQ(events_.handoffs[id].rx_range.length(), 0u);
      EXPECT_EQ(events_.handoffs[id].tx_range.length(), 0u);
    }
    events_.take();
    local_.forget(10);
    EXPECT_FALSE(local_.knows(11));
  }
}

TEST_F(LocalTargetTest, ASeatIsGivenOutAgainWhenNobodyIsInside) {
  Pair& p = pair();
  const auto first = pairs_.seat(p, kRing);
  ASSERT_TRUE(first);
  one_.program.slot(3).app.users.store(1);
  const std::uint64_t free_before = p.rings.free_bytes();
  pairs_.leave(p, *first, {ends_[0].use, ends_[1].use});
  EXPECT_EQ(p.rings.free_bytes(), free_before) << "a call is inside";
  const auto second = pairs_.seat(p, kRing);
  ASSERT_TRUE(second);
  EXPECT_NE(second->index, first->index);
  one_.program.slot(3).app.users.store(0);
  pairs_.leave(p, *second, {ends_[0].use, ends_[1].use});  // looks at all that rest
  EXPECT_EQ(p.rings.free_bytes(), free_before + 2 * kRing);
  EXPECT_EQ(p.connections, 0u);
  EXPECT_EQ(pairs_.seat(p, kRing)->index, first->index);
}

TEST_F(LocalTargetTest, WhatADeadEngineHadGivenIsTakenOnce) {
  Pair& p = pair();
  const PairSeat seat{7, {p.rings.allocate(kRing).value(), p.rings.allocate(kRing).value()}, kRing};
  for (const std::uint64_t offset : seat.rings)
    p.rings.free(offset);
  EXPECT_TRUE(pairs_.take_seat(p, seat));
  EXPECT_FALSE(pairs_.take_seat(p, seat));
  EXPECT_FALSE(pairs_.take_seat(p, {ipc::kSlots, seat.rings, kRing}));
  const auto next = pairs_.seat(p, kRing);
  EXPECT_EQ(next->index, 0u) << "below the one that was taken";
}

TEST_F(LocalTargetTest, AProgramThatReadsNothingGetsNoConnection) {
  pair();
  is_full_ = true;
  const auto refused = pairs_.between(two_.program, one_.program, kPairBytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kBusy);
}

TEST_F(LocalTargetTest, LanesArePassedOnAndRungOnce) {
  Pair& p = pair();
  const int eventfd = ::eventfd(0, EFD_NONBLOCK);
  EXPECT_FALSE(pairs_.add_lane(one_.program, p.number, 1, 4, UniqueFd(::dup(eventfd))))
      << "the other side's";
  EXPECT_TRUE(pairs_.add_lane(one_.program, 999, 0, 4, UniqueFd(::dup(eventfd)))) << "gone";
  EXPECT_TRUE(pairs_.add_lane(one_.program, p.number, 0, 4, UniqueFd(::dup(eventfd))));
  EXPECT_EQ(told_[2].back(), ipc::MessageKind::kLane);
  std::uint64_t count = 0;
  EXPECT_EQ(::read(eventfd, &count, sizeof count), ssize_t{sizeof count});
  EXPECT_EQ(count, 1u);
  p.connection(2).end[0].lanes[1].store(4);
  pairs_.wake(p, 0, 2);
  EXPECT_EQ(::read(eventfd, &count, sizeof count), -1) << "nobody sleeps";
  p.lane(0, 4).sleeping.store(1);
  pairs_.wake(p, 0, 2);
  EXPECT_EQ(::read(eventfd, &count, sizeof count), ssize_t{sizeof count});
  ::close(eventfd);
}

TEST_F(LocalTargetTest, ADeadProgramSaysWhatItsKernelWould) {
  carry();
  one_.program.slot(3).app.flags.store(0);
  local_.on_died(10);  // "to-one:unread" was left
  EXPECT_EQ(connection().end[0].flags.load(), ipc::pair_flag::kGone | ipc::pair_flag::kReset);
  local_.dispatch(events_);
  EXPECT_EQ(events_.take(), "") << "the other end may still read";
  local_.on_closed(11);
  local_.dispatch(events_);
  EXPECT_EQ(events_.take(), "finished 10 finished 11 ");
  EXPECT_FALSE(local_.knows(10));
}

TEST_F(LocalTargetTest, IdleRingsGiveTheirPagesBackUnlessSomebodyIsInside) {
  carry();
  for (std::size_t reader = 0; reader < 2; ++reader)
    connection().end[reader].rx_tail.store(connection().end[1 - reader].tx_head.load());
  for (auto* slot : {&one_.program.slot(3), &two_.program.slot(5)})
    ipc::set_mode(*slot, ipc::SlotMode::kOffloaded);
  std::byte* byte = pair().memory.data() + records_[10].place.tx_ring;
  *byte = std::byte{7};
  one_.program.slot(3).app.users.store(1);
  local_.trim();  // sees where it stands
  local_.trim();
  EXPECT_EQ(*byte, std::byte{7}) << "a call is inside";
  one_.program.slot(3).app.users.store(0);
  local_.trim();
  EXPECT_EQ(*byte, std::byte{0});
  EXPECT_EQ(ipc::mode_of(one_.program.slot(3).engine.mode_word.load()), ipc::SlotMode::kOffloaded);
}

TEST_F(LocalTargetTest, PeersAreFoundByTheirTuple) {
  PeerIndex index(programs_);
  const FourTuple tuple{{IpAddress::v4(127, 0, 0, 1), 1}, {IpAddress::v4(127, 0, 0, 1), 2}};
  PeerIndex::Place place;
  EXPECT_EQ(index.find(tuple, place), PeerIndex::Answer::kNobody);
  EXPECT_EQ(index.find(tuple, place), PeerIndex::Answer::kNotNow)
      << "all slots were just looked at";
  index.learn(tuple, two_.program, 5);
  ASSERT_EQ(index.find(tuple, place), PeerIndex::Answer::kFound);
  EXPECT_EQ(place.program, &two_.program);
  EXPECT_EQ(place.slot, 5u);
  two_.program.slot(5).app.in_use.store(3);  // closed, and used anew
  EXPECT_NE(index.find(tuple, place), PeerIndex::Answer::kFound);
}

}  // namespace
}  // namespace snp::daemon
