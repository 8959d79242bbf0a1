// What park() and unpark() promise beyond the single states: bulk in the middle of a transfer,
// large queues, refusals that leave the socket whole, silence at the end, an undisturbed listener.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"
#include "snp/wire/segment.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 4 << 20;

Transfer exchange(std::size_t bytes) {
  Transfer t;
  t.host_sends = t.peer_expects = pattern(11, bytes);
  t.peer_sends = t.host_expects = pattern(12, bytes);
  return t;
}

std::size_t resets(const std::vector<WireTap::Seen>& seen) {
  return static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(), [](const auto& segment) {
    return (segment.flags & TcpFlags::kRst) != 0;
  }));
}

// The rings must hold both queues, and there is no room for more than the kernel's largest.
TEST(ParkUnpark, LargeQueuesOfBothDirections) {
  constexpr std::size_t kQueue = 1200000;
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  for (const int option : {SO_SNDBUFFORCE, SO_RCVBUFFORCE})
    for (const int fd : {c.host.get(), c.peer.get()})
      ASSERT_TRUE(host::set_option(fd, SOL_SOCKET, option, 4 << 20));
  ASSERT_EQ(fill(c.peer.get(), pattern(2, kQueue)), kQueue);
  for (int i = 0; i < 2000 && host::ioctl_count(c.host.get(), SIOCINQ) != kQueue; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(host::ioctl_count(c.host.get(), SIOCINQ), kQueue);
  lab.block_ingress(c);
  ASSERT_EQ(fill(c.host.get(), pattern(1, kQueue)), kQueue);

  RingPair rings(kRingBytes);
  for (int round = 0; round < 3; ++round) {
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked) << parked.error().message;
    EXPECT_EQ(ring_bytes(rings.rx, parked->rx_range), pattern(2, kQueue));
    if (round == 0) {
      EXPECT_EQ(ring_bytes(rings.tx, parked->tx_range), pattern(1, kQueue));
    }
    const auto unparked = lab.unpark(c, *parked, rings);
    ASSERT_TRUE(unparked) << unparked.error().message;
  }
  EXPECT_TRUE(finish(c, {.host_sends = {},
                         .peer_sends = {},
                         .host_expects = pattern(2, kQueue),
                         .peer_expects = pattern(1, kQueue)}));
}

// While both ends write and read without a pause, the socket is parked and refilled again and
// again.
TEST(ParkUnpark, AgainAndAgainInTheMiddleOfATransfer) {
  constexpr int kRounds = 50;
  constexpr std::size_t kBytes = 40 << 20;
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  WireTap tap(lab.net());
  std::atomic<bool> gate_closed{false};
  std::atomic<bool> is_inside{false};
  std::atomic<bool> stop{false};
  // The application: uses the socket unless the gate is closed, as the switch sees to it.
  const Bytes to_peer = pattern(11, kBytes);
  const Bytes to_host = pattern(12, kBytes);
  std::size_t host_written = 0;
  Bytes host_read;
  std::thread application([&] {
    Bytes buffer(65536);
    while (!stop) {
      is_inside = true;
      if (!gate_closed) {
        host_written +=
            fill(c.host.get(), std::span(to_peer)
                                   .subspan(host_written)
                                   .first(std::min<std::size_t>(50000, kBytes - host_written)));
        const ssize_t got = ::recv(c.host.get(), buffer.data(), buffer.size() / 4, MSG_DONTWAIT);
        if (got > 0) host_read.insert(host_read.end(), buffer.begin(), buffer.begin() + got);
      }
      is_inside = false;
      std::this_thread::yield();
    }
  });
  Bytes peer_read;
  std::size_t peer_written = 0;
  std::thread peer([&] {
    Bytes buffer(65536);
    while (!stop) {
      peer_written +=
          fill(c.peer.get(), std::span(to_host)
                                 .subspan(peer_written)
                                 .first(std::min<std::size_t>(50000, kBytes - peer_written)));
      const ssize_t got = ::recv(c.peer.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) peer_read.insert(peer_read.end(), buffer.begin(), buffer.begin() + got);
    }
  });

  RingPair rings(64 << 20);  // all that can ever wait
  std::string failure;
  std::uint64_t moved = 0;
  for (int round = 0; round < kRounds && failure.empty(); ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    gate_closed = true;
    while (is_inside)
      std::this_thread::yield();
    const auto parked = lab.park(c, rings);
    if (parked) {
      moved += parked->rx_range.length() + parked->tx_range.length();
      const auto unparked = lab.unpark(c, *parked, rings);
      if (!unparked) failure = unparked.error().message;
    } else if (parked.error().code != Errc::kBusy) {
      failure = parked.error().message;
    }
    gate_closed = false;
  }
  stop = true;
  application.join();
  peer.join();
  ASSERT_EQ(failure, "");
  EXPECT_GT(moved, 0u) << "the queues were never filled";
  // Hand-overs do not make the buffers grow beyond what the kernel's own tuning allows (tcp_rmem).
  EXPECT_LE(host::get_option(c.host.get(), SOL_SOCKET, SO_RCVBUF), 64 << 20);

  const Transfer rest{
      .host_sends = {},
      .peer_sends = {},
      .host_expects = Bytes(to_host.begin() + static_cast<std::ptrdiff_t>(host_read.size()),
                            to_host.begin() + static_cast<std::ptrdiff_t>(peer_written)),
      .peer_expects = Bytes(to_peer.begin() + static_cast<std::ptrdiff_t>(peer_read.size()),
                            to_peer.begin() + static_cast<std::ptrdiff_t>(host_written))};
  EXPECT_TRUE(finish(c, rest));
  EXPECT_TRUE(std::equal(host_read.begin(), host_read.end(), to_host.begin()));
  EXPECT_TRUE(std::equal(peer_read.begin(), peer_read.end(), to_peer.begin()));
  EXPECT_EQ(resets(tap.take()), 0u);
}

TEST(ParkUnpark, RingTooSmallIsRefusedAndTheSocketIsWhole) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  host::set_option(c.host.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  write_all(c.peer.get(), pattern(2, 10000));
  EXPECT_TRUE(wait_for_state(c.host.get(), host::kKernelEstablished));
  for (int i = 0; i < 2000 && host::ioctl_count(c.host.get(), SIOCINQ) != 10000u; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  RingPair small(4096);
  const auto parked = lab.park(c, small);
  ASSERT_FALSE(parked);
  EXPECT_EQ(parked.error().code, Errc::kFull);
  EXPECT_EQ(host::get_option(c.host.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(host::get_option(c.host.get(), SOL_SOCKET, SO_REUSEADDR), 1);
  Transfer rest = exchange(100000);
  rest.host_expects = pattern(2, 10000) + rest.host_expects;
  EXPECT_TRUE(finish(c, rest));
}

TEST(ParkUnpark, UnparkMayBeDoneAgainFromTheStart) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  write_all(c.peer.get(), pattern(2, 5000));
  for (int i = 0; i < 2000 && host::ioctl_count(c.host.get(), SIOCINQ) != 5000u; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  lab.block_ingress(c);
  write_all(c.host.get(), pattern(1, 5000));
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  // The keeper does not know how far the one before it came.
  ASSERT_TRUE(lab.steering().set(c.tuple, steer::FlowSteering::kReturn, 0));
  ASSERT_TRUE(host::unpark(c.host.get(), parked->state, parked->memo, rings.rx, parked->rx_range,
                           rings.tx, parked->tx_range));
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  Transfer rest = exchange(100000);
  rest.host_expects = pattern(2, 5000) + rest.host_expects;
  rest.peer_expects = pattern(1, 5000) + rest.peer_expects;
  EXPECT_TRUE(finish(c, rest));
}

// The segment that told the window last came from beyond a gap, and its text was dropped.
TEST(ParkUnpark, AWindowThatWasToldFromBeyondTheWindowIsKept) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  lab.block_ingress(c);
  RingPair rings(kRingBytes);
  auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  DelegatedState& state = parked->state.delegated;
  state.snd_wl1 = state.rcv_nxt + state.rcv_wnd + (1u << 20);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_TRUE(finish(c, exchange(100000)));
}

// A busy client uses up the ports that connect() may choose; one that an emptied socket gives back
// for a moment is then the next to be taken, and the four-tuple with it.
TEST(ParkUnpark, NobodyTakesThePortMeanwhile) {
  ParkingLab lab;
  const InNamespace as_snpd(lab.net().left());
  NetnsLab::run_in(lab.net().left(),
                   {"sh", "-c", "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range"});
  const auto end_with_a_reset = [](UniqueFd& fd) {
    const linger at_once{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fd.reset();
  };
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Connection c = lab.connect_pair(Family::kV4, true);
    const auto peer = host::to_socket_address(c.tuple.remote, AF_INET, 0);
    std::atomic<bool> stops{false};
    std::atomic<int> taken{0};
    std::thread other([&] {
      const InNamespace inside(lab.net().left());
      while (!stops) {
        UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (::connect(client.get(), peer.raw(), peer.length) == 0 || errno == EINPROGRESS) ++taken;
      }
    });
    RingPair rings(kRingBytes);
    const auto parked = lab.park(c, rings);
    stops = true;
    other.join();
    EXPECT_EQ(taken, 0);
    ASSERT_TRUE(parked) << parked.error().message;
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
    end_with_a_reset(c.host);
    end_with_a_reset(c.peer);
  }
}

TEST(ParkUnpark, BuryingIsSilentAndFreesThePort) {
  ParkingLab lab;
  Connection c = lab.connect_pair(Family::kV4);
  write_all(c.peer.get(), pattern(2, 5000));
  RingPair rings(kRingBytes);
  ASSERT_TRUE(lab.park(c, rings));
  WireTap tap(lab.net());
  host::bury(c.host.get());
  c.host.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  for (const WireTap::Seen& seen : tap.take())
    EXPECT_FALSE(seen.from_left);
  EXPECT_EQ(lab.steering().counters(c.tuple)->fenced_frames, 0u);
}

// A server that is started again binds its port while connections of the old one live on.
TEST(ParkUnpark, ListenerGoesOnAndItsPortCanBeBoundAgain) {
  ParkingLab lab;
  Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  const auto address = *host::local_address(c.listener.get());
  const auto connect_once = [&] {
    const InNamespace inside(lab.net().right());
    const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto to = host::to_socket_address({lab.net().left().v4, host::to_endpoint(address)->port},
                                            AF_INET, 0);
    return ::connect(client.get(), to.raw(), to.length) == 0 &&
           UniqueFd(::accept4(c.listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).is_open();
  };
  EXPECT_TRUE(connect_once());
  const auto bind_again = [&] {
    c.listener.reset();
    const InNamespace inside(lab.net().left());
    c.listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    host::set_option(c.listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    return ::bind(c.listener.get(), address.raw(), address.length) == 0 &&
           ::listen(c.listener.get(), 16) == 0;
  };
  EXPECT_TRUE(bind_again()) << "while parked";
  EXPECT_TRUE(connect_once());
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_TRUE(bind_again()) << "after the upload";
  EXPECT_TRUE(connect_once());
  EXPECT_TRUE(finish(c, exchange(10000)));
}

// Timestamps never go backwards, and never into microseconds.
TEST(ParkUnpark, TimestampClockGoesOn) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  std::uint32_t last = 0;
  for (int round = 0; round < 20; ++round) {
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked);
    const std::uint32_t now = parked->state.delegated.ts_val;
    if (round > 0) {
      EXPECT_LT(now - last, 10000u);
    }
    last = now;
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
    const auto value = host::get_option(c.host.get(), IPPROTO_TCP, TCP_TIMESTAMP);
    EXPECT_EQ(*value & 1, 0);
    EXPECT_LT(static_cast<std::uint32_t>(*value) + 1 - last, 10000u);
  }
}

// A host that paces stamps what it sends with the time at which the last burst is paid for. To go
// on behind that would be PAWS's to drop (RFC 7323 5.3).
TEST(ParkUnpark, TimestampsGoOnAheadOfAHostThatPaces) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  const Bytes unpaced = pattern(4, 40'000);  // the first ten segments are free
  write_all(c.host.get(), unpaced);
  ASSERT_EQ(read_some(c.peer.get(), unpaced.size()), unpaced);
  constexpr std::uint32_t kRate = 20'000;  // bytes per second: two segments take 0.15 s
  ASSERT_TRUE(host::set_option(c.host.get(), SOL_SOCKET, SO_MAX_PACING_RATE, kRate));
  WireTap tap(lab.net());
  const Bytes request = pattern(5, 4000);
  write_all(c.host.get(), request);
  for (int i = 0; i < 4; ++i) {  // at first each is acknowledged at once
    write_all(c.peer.get(), pattern(6, 100));
    EXPECT_EQ(read_some(c.host.get(), 100).size(), 100u);
  }
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  std::uint32_t latest = 0;
  for (const WireTap::Seen& seen : tap.take())
    if (seen.from_left && (latest == 0 || static_cast<std::int32_t>(seen.ts_val - latest) > 0))
      latest = seen.ts_val;
  ASSERT_NE(latest, 0u);
  EXPECT_GE(static_cast<std::int32_t>(parked->state.delegated.ts_val - latest), 0);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_EQ(read_some(c.peer.get(), request.size()), request);
}

}  // namespace
}  // namespace snp::test
