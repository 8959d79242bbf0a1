// Two sockets of one host that are each other's peer: silenced, dumped, proved, emptied and
// refilled together, over `lo` and between addresses of other devices. Nothing is lost, no reset is
// seen, and nobody waits for a retransmission timer.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <tuple>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "snp/chimney/local_pair.h"
#include "snp/daemon/record_journal.h"
#include "snp/daemon/recovery.h"
#include "snp/daemon/slot_access.h"
#include "snp/host/socket_calls.h"

#include "test/handover/parking_lab.h"
#include "test/support/netns.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 64 << 20;  // more than tcp_rmem and tcp_wmem allow

enum class Path { kLoV4, kLoV6, kMapped, kDeviceV4, kDeviceV6 };

// A namespace with a device of its own, whose addresses are local to it.
class LoopbackLab {
 public:
  LoopbackLab() {
    net_.run("ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up");
    net_.run("ip addr add 10.78.0.1/24 dev d0 && ip addr add fd78::1/128 dev lo nodad");
    for (const Path path : {Path::kLoV6, Path::kDeviceV6})
      net_.wait_usable(address_of(path));
  }

  [[nodiscard]] Connection connect_pair(Path path) const {
    const NetNamespace::Inside inside(net_);
    const int server_domain = path == Path::kLoV4 || path == Path::kDeviceV4 ? AF_INET : AF_INET6;
    const int client_domain = path == Path::kMapped ? AF_INET : server_domain;
    Connection c;
    c.listener.reset(::socket(server_domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
    host::set_option(c.listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    const Endpoint any{server_domain == AF_INET ? IpAddress::v4(0, 0, 0, 0) : IpAddress{}, 0};
    const auto bound = host::to_socket_address(any, server_domain, 0);
    EXPECT_EQ(::bind(c.listener.get(), bound.raw(), bound.length), 0);
    EXPECT_EQ(::listen(c.listener.get(), 16), 0);
    const timeval patience{10, 0};  // nobody waits for ever for what did not come
    ::setsockopt(c.listener.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const auto port = host::to_endpoint(*host::local_address(c.listener.get()))->port;
    const auto to = host::to_socket_address({address_of(path), port}, client_domain, 0);
    c.host.reset(::socket(client_domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(c.host.get(), to.raw(), to.length), 0) << std::strerror(errno);
    c.peer.reset(::accept4(c.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    c.tuple = {*host::to_endpoint(*host::local_address(c.host.get())),
               *host::to_endpoint(*host::remote_address(c.host.get()))};
    return c;
  }

  // Retransmission timers that ran out in the namespace.
  [[nodiscard]] std::uint64_t timeouts() const {
    const std::string text = net_.output_of("nstat -asz TcpExtTCPTimeouts 2>/dev/null");
    const std::string name = "TcpExtTCPTimeouts";
    const std::size_t at = text.find(name);
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size()));
  }

 private:
  static IpAddress address_of(Path path) {
    IpAddress v6;
    switch (path) {
      case Path::kLoV6:
        v6.bytes[15] = 1;
        return v6;
      case Path::kDeviceV4:
        return IpAddress::v4(10, 78, 0, 1);
      case Path::kDeviceV6:
        v6.bytes = {0xfd, 0x78};
        v6.bytes[15] = 1;
        return v6;
      default:
        return IpAddress::v4(127, 0, 0, 1);
    }
  }

  NetNamespace net_;
};

// One end while the pair is moved.
struct End {
  End(int its_fd, std::uint32_t ring) : fd(its_fd), rings(ring) {}
  int fd;
  RingPair rings;
  HostSocketMemo memo;
  host::Parked parked;
  chimney::LocalEnd local;
};

chimney::LocalEnd to_local(const End& end) {
  chimney::LocalEnd local;
  local.handoff.state = end.parked.state;
  local.handoff.rx = end.rings.rx;
  local.handoff.tx = end.rings.tx;
  local.handoff.rx_range = end.parked.rx_range;
  local.handoff.tx_range = end.parked.tx_range;
  local.receive_room = end.memo.receive_buffer / 2;
  return local;
}

// Both sockets whole and silent, their queues copied. False: they did not stand still, and are as
// they were.
bool take(End& a, End& b) {
  for (End* end : {&a, &b}) {
    const auto memo = host::silence(end->fd, nullptr);
    EXPECT_TRUE(memo) << memo.error().message;
    end->memo = *memo;
  }
  for (End* end : {&a, &b}) {
    const auto parked = host::dump(end->fd, end->memo, end->rings.rx, RingPair::kRxBegin,
                                   end->rings.tx, RingPair::kTxEnd);
    if (!parked) {
      EXPECT_EQ(parked.error().code, Errc::kBusy) << parked.error().message;
      for (End* other : {&a, &b})
        EXPECT_TRUE(host::release(other->fd, other->memo));
      return false;
    }
    end->parked = *parked;
    end->local = to_local(*end);
  }
  EXPECT_TRUE(chimney::are_each_other(a.local.handoff, b.local.handoff));
  for (End* end : {&a, &b}) {
    const auto emptied = host::empty(end->fd, end->parked);
    EXPECT_TRUE(emptied) << emptied.error().message;
  }
  chimney::settle(a.local, b.local);
  return true;
}

void bring_home(End& a, End& b) {
  std::array<host::Refilled, 2> refilled;
  const std::array<End*, 2> ends{&a, &b};
  for (std::size_t i = 0; i < 2; ++i) {
    const chimney::Handoff& h = ends[i]->local.handoff;
    const auto filled =
        host::refill(ends[i]->fd, h.state, ends[i]->memo, h.rx, h.rx_range, h.tx, h.tx_range);
    ASSERT_TRUE(filled) << filled.error().message;
    EXPECT_FALSE(filled->needs_forged);
    refilled[i] = *filled;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const auto resumed =
        host::resume(ends[i]->fd, ends[i]->local.handoff.state.cached, ends[i]->memo, refilled[i]);
    ASSERT_TRUE(resumed) << resumed.error().message;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const chimney::Handoff& h = ends[i]->local.handoff;
    const auto sent =
        host::send_rest(ends[i]->fd, h.state.cached, ends[i]->memo, refilled[i], h.tx, h.tx_range);
    ASSERT_TRUE(sent) << sent.error().message;
  }
}

enum class Fill { kNothing, kALittle, kBothQueues };
enum class Shut { kNone, kClient, kServer };
using Case = std::tuple<Path, Fill, Shut>;

class BothEnds : public testing::TestWithParam<Case> {
 protected:
  LoopbackLab lab_;
};

TEST_P(BothEnds, ComeHomeWhole) {
  const auto [path, how_full, shut] = GetParam();
  const Connection c = lab_.connect_pair(path);
  Bytes to_peer = pattern(1, how_full == Fill::kNothing ? 0 : 8000000);
  Bytes to_host = pattern(2, how_full == Fill::kNothing ? 0 : 8000000);
  if (how_full == Fill::kALittle) {
    to_peer.resize(3000);
    to_host.resize(5000);
  }
  to_peer.resize(fill(c.host.get(), to_peer));
  to_host.resize(fill(c.peer.get(), to_host));
  if (shut == Shut::kClient) ::shutdown(c.host.get(), SHUT_WR);
  if (shut == Shut::kServer) ::shutdown(c.peer.get(), SHUT_WR);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto before = lab_.timeouts();

  End a(c.host.get(), kRingBytes);
  End b(c.peer.get(), kRingBytes);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(take(a, b));
    EXPECT_EQ(host::ioctl_count(a.fd, SIOCINQ), 0u);
    EXPECT_EQ(host::ioctl_count(b.fd, SIOCOUTQ), 0u);
    ASSERT_NO_FATAL_FAILURE(bring_home(a, b));
  }
  Transfer rest;
  rest.host_shuts = shut != Shut::kClient;
  rest.peer_shuts = shut != Shut::kServer;
  if (rest.host_shuts) rest.host_sends = pattern(3, 300000);
  if (rest.peer_shuts) rest.peer_sends = pattern(4, 300000);
  rest.host_expects = to_host + rest.peer_sends;
  rest.peer_expects = to_peer + rest.host_sends;
  EXPECT_TRUE(finish(c, rest));
  EXPECT_EQ(lab_.timeouts(), before);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  static constexpr const char* kPaths[] = {"LoV4", "LoV6", "Mapped", "DeviceV4", "DeviceV6"};
  static constexpr const char* kFills[] = {"Empty", "Little", "Full"};
  static constexpr const char* kShuts[] = {"Open", "ClientShut", "ServerShut"};
  const auto [path, how_full, shut] = info.param;
  return std::string(kPaths[static_cast<int>(path)]) + kFills[static_cast<int>(how_full)] +
         kShuts[static_cast<int>(shut)];
}

INSTANTIATE_TEST_SUITE_P(
    Loopback, BothEnds,
    testing::Combine(testing::Values(Path::kLoV4, Path::kLoV6, Path::kMapped, Path::kDeviceV4,
                                     Path::kDeviceV6),
                     testing::Values(Fill::kNothing, Fill::kALittle, Fill::kBothQueues),
                     testing::Values(Shut::kNone, Shut::kClient, Shut::kServer)),
    name_of);

// Two programs write and read without a pause while the pair is moved thousands of times.
TEST(Loopback, ThousandsOfTimesUnderLoad) {
  constexpr int kRounds = 3000;
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  LoopbackLab lab;
  const Connection c = lab.connect_pair(Path::kLoV4);
  const auto before = lab.timeouts();
  std::atomic<bool> gate_closed{false};
  std::atomic<bool> stop{false};
  struct Program {
    int fd;
    std::uint32_t out, in;
    std::atomic<bool> is_inside{false};
    std::size_t written = 0, read = 0;
    bool is_right = true;
  };
  // The streams repeat a block, so that any length of them is cheap to check.
  constexpr std::size_t kBlock = 1 << 20;
  const std::array<Bytes, 2> blocks{pattern(1, kBlock), pattern(2, kBlock)};
  Program left{c.host.get(), 0, 1};
  Program right{c.peer.get(), 1, 0};
  const auto run = [&](Program& p, std::uint32_t its_seed) {
    std::mt19937 random(its_seed);
    Bytes buffer(300000);
    while (!stop) {
      p.is_inside = true;
      if (!gate_closed) {
        const std::size_t at = p.written % kBlock;
        const std::size_t most = std::min<std::size_t>(kBlock - at, 1 + random() % 200000);
        p.written += fill(p.fd, std::span(blocks[p.out]).subspan(at, most));
        const ssize_t got = ::recv(p.fd, buffer.data(), 1 + random() % buffer.size(), MSG_DONTWAIT);
        for (ssize_t i = 0; i < got; ++i)
          p.is_right &= buffer[static_cast<std::size_t>(i)] ==
                        blocks[p.in][(p.read + static_cast<std::size_t>(i)) % kBlock];
        if (got > 0) p.read += static_cast<std::size_t>(got);
      }
      p.is_inside = false;
      std::this_thread::yield();
    }
  };
  std::thread one([&] { run(left, seed); });
  std::thread two([&] { run(right, seed + 1); });

  End a(c.host.get(), kRingBytes);
  End b(c.peer.get(), kRingBytes);
  int moved = 0;
  std::uint64_t bytes = 0;
  for (int round = 0; round < kRounds && !testing::Test::HasFailure(); ++round) {
    gate_closed = true;
    while (left.is_inside || right.is_inside)
      std::this_thread::yield();
    if (take(a, b)) {
      ++moved;
      bytes += a.local.handoff.rx_range.length() + a.local.handoff.tx_range.length();
      bring_home(a, b);
    }
    gate_closed = false;
    if (round % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  stop = true;
  one.join();
  two.join();
  EXPECT_TRUE(left.is_right && right.is_right);
  EXPECT_GT(moved, kRounds / 2);
  EXPECT_GT(bytes, 0u);

  // What is still on its way.
  ASSERT_EQ(::shutdown(left.fd, SHUT_WR), 0);
  ASSERT_EQ(::shutdown(right.fd, SHUT_WR), 0);
  for (auto [reader, writer] : {std::pair(&left, &right), std::pair(&right, &left)}) {
    const Bytes rest = read_some(reader->fd, writer->written - reader->read);
    ASSERT_EQ(reader->read + rest.size(), writer->written);
    for (std::size_t i = 0; i < rest.size(); ++i)
      ASSERT_EQ(rest[i], blocks[reader->in][(reader->read + i) % kBlock]);
    EXPECT_TRUE(is_at_end_of_file(reader->fd));
  }
  EXPECT_EQ(lab.timeouts(), before);
}

// The program at one end has closed and its socket is ours alone: closed after it came home, it
// does what a closed socket does.
TEST(Loopback, AnEndThatItsProgramHasClosedEndsInTheHost) {
  LoopbackLab lab;
  Connection c = lab.connect_pair(Path::kLoV4);
  write_all(c.host.get(), pattern(1, 100000));
  End a(c.host.get(), kRingBytes);
  End b(c.peer.get(), kRingBytes);
  ASSERT_TRUE(take(a, b));
  a.local.handoff.state.delegated.fin_pending = true;
  bring_home(a, b);
  c.host.reset();
  EXPECT_EQ(read_some(b.fd, 100000), pattern(1, 100000));
  EXPECT_TRUE(is_at_end_of_file(b.fd));
}

TEST(Loopback, AResetIsSeenByBothEnds) {
  LoopbackLab lab;
  const Connection c = lab.connect_pair(Path::kLoV4);
  End a(c.host.get(), kRingBytes);
  End b(c.peer.get(), kRingBytes);
  ASSERT_TRUE(take(a, b));
  bring_home(a, b);
  host::reset(a.fd);
  for (const End* end : {&a, &b}) {
    std::byte byte{};
    EXPECT_EQ(::recv(end->fd, &byte, 1, MSG_DONTWAIT), -1);
    EXPECT_EQ(errno, ECONNRESET);
  }
}

// How far an offload had come when the engine was killed.
enum class Cut {
  kFirstSilenced,
  kBothSilenced,
  kFirstDumped,
  kBothDumped,
  kFirstEmptied,
  kBothEmptied
};

class KilledBetween : public testing::TestWithParam<Cut> {
 protected:
  static constexpr std::uint32_t kArenaRing = 16 << 20;

  // What the engine leaves behind: two programs, two records that name each other, two sockets.
  void engine_comes_as_far_as(Cut cut) {
    for (const ipc::FlowId id : {0u, 1u}) {
      auto arena = daemon::make_arena(ipc::kRingsOffset + 2 * std::size_t{kArenaRing}, 1);
      ASSERT_TRUE(arena);
      auto program = std::make_unique<daemon::KeptProgram>(id + 1, std::move(*arena));
      ipc::Slot& slot = daemon::slot_at(program->arena.memory, 0);
      slot.app.in_use.store(1);
      ipc::set_mode(slot, ipc::SlotMode::kOffloading);
      ipc::FlowRecord& record = records_[id];
      record.arena = id + 1;
      record.slot = 0;
      record.rx_ring = ipc::kRingsOffset;
      record.tx_ring = ipc::kRingsOffset + kArenaRing;
      record.rx_size = record.tx_size = kArenaRing;
      record.place.peer = 1 - id;
      record.place.side = id;
      record.constant.tuple = id == 0 ? c_.tuple : mirrored(c_.tuple);
      record.status.store(ipc::FlowStatus::kParking);
      fds_[id] = id == 0 ? c_.host.get() : c_.peer.get();
      kept_.sockets[id] = UniqueFd(::dup(fds_[id]));
      bases_[id] = program->arena.memory.data();
      kept_.programs[id + 1] = std::move(program);
    }
    if (!silence(0) || cut == Cut::kFirstSilenced || !silence(1) || cut == Cut::kBothSilenced)
      return;
    const host::Path path;
    std::array<host::Parked, 2> parked;
    for (const ipc::FlowId id : {0u, 1u}) {
      const auto dumped = host::dump(
          fds_[id], records_[id].memo, {bases_[id] + records_[id].rx_ring, kArenaRing},
          RingPair::kRxBegin, {bases_[id] + records_[id].tx_ring, kArenaRing}, RingPair::kTxEnd);
      ASSERT_TRUE(dumped) << dumped.error().message;
      parked[id] = *dumped;
    }
    daemon::RecordJournal(records_[0], path).before_emptying(parked[0]);
    if (cut == Cut::kFirstDumped) return;
    daemon::RecordJournal(records_[1], path).before_emptying(parked[1]);
    if (cut == Cut::kBothDumped) return;
    ASSERT_TRUE(host::empty(fds_[0], parked[0]));
    if (cut == Cut::kFirstEmptied) return;
    ASSERT_TRUE(host::empty(fds_[1], parked[1]));
  }
  bool silence(ipc::FlowId id) {
    daemon::RecordJournal journal(records_[id], path_);
    return host::silence(fds_[id], &journal).has_value();
  }

  LoopbackLab lab_;
  Connection c_ = lab_.connect_pair(Path::kLoV4);
  std::vector<ipc::FlowRecord> records_ = std::vector<ipc::FlowRecord>(ipc::kFlowRecords);
  daemon::Kept kept_;
  host::Path path_;
  std::array<int, 2> fds_{};
  std::array<std::byte*, 2> bases_{};
};

TEST_P(KilledBetween, BothEndsComeHomeWhole) {
  Bytes to_peer = pattern(1, 3000000);
  Bytes to_host = pattern(2, 3000000);
  to_peer.resize(fill(c_.host.get(), to_peer));
  to_host.resize(fill(c_.peer.get(), to_host));
  ASSERT_EQ(::shutdown(c_.host.get(), SHUT_WR), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_NO_FATAL_FAILURE(engine_comes_as_far_as(GetParam()));
  auto steering = steer::Steering::load(16);
  ASSERT_TRUE(steering);
  std::string notes;
  const auto report = daemon::recover(kept_, records_.data(), **steering, daemon::Aim::kForGood,
                                      [&notes](const std::string& line) { notes += line + "\n"; });
  EXPECT_EQ(report.home, 2u) << notes;
  EXPECT_EQ(notes, "");
  EXPECT_TRUE(kept_.sockets.empty());
  for (const auto& [number, program] : kept_.programs)
    EXPECT_EQ(ipc::mode_of(daemon::slot_at(program->arena.memory, 0).engine.mode_word.load()),
              ipc::SlotMode::kInHost);
  Transfer rest;
  rest.host_shuts = false;
  rest.peer_sends = pattern(4, 300000);
  rest.host_expects = to_host + rest.peer_sends;
  rest.peer_expects = to_peer;
  EXPECT_TRUE(finish(c_, rest));
}

INSTANTIATE_TEST_SUITE_P(Loopback, KilledBetween,
                         testing::Values(Cut::kFirstSilenced, Cut::kBothSilenced, Cut::kFirstDumped,
                                         Cut::kBothDumped, Cut::kFirstEmptied, Cut::kBothEmptied));

}  // namespace
}  // namespace snp::test
