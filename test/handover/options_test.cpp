// What a program has set on its socket is still so after the way there and back, though the
// kernel's disconnect and repair mode forget part of it.
#include <array>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 1 << 20;

struct Option {
  const char* name;
  int level;
  int option;
  std::optional<int> value;  // nullopt: only looked at
};

const Option kOptions[] = {
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1},
    {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1},
    {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
    {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 3},
    {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 4},
    {"SO_MAX_PACING_RATE", SOL_SOCKET, SO_MAX_PACING_RATE, 1 << 30},
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 100000},
    {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 1000000},
    {"SO_BUF_LOCK", SOL_SOCKET, SO_BUF_LOCK, std::nullopt},
    {"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, std::nullopt},
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1},
    {"TCP_CORK", IPPROTO_TCP, TCP_CORK, 1},
    {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 11},
    {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 12},
    {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 5},
    {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 12345},
    {"TCP_NOTSENT_LOWAT", IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384},
    {"TCP_LINGER2", IPPROTO_TCP, TCP_LINGER2, 17},
    {"TCP_SYNCNT", IPPROTO_TCP, TCP_SYNCNT, 3},
    {"TCP_THIN_LINEAR_TIMEOUTS", IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1},
    {"TCP_INQ", IPPROTO_TCP, TCP_INQ, 1},
    {"TCP_WINDOW_CLAMP", IPPROTO_TCP, TCP_WINDOW_CLAMP, 300000},
    {"TCP_MAXSEG", IPPROTO_TCP, TCP_MAXSEG, std::nullopt},
    {"TCP_RTO_MAX_MS", IPPROTO_TCP, host::kTcpRtoMaxMs, 5000},
    {"TCP_RTO_MIN_US", IPPROTO_TCP, host::kTcpRtoMinUs, 100000},
    {"TCP_DELACK_MAX_US", IPPROTO_TCP, host::kTcpDelackMaxUs, 20000},
    {"IP_TOS", IPPROTO_IP, IP_TOS, 0x10},
    {"IP_TTL", IPPROTO_IP, IP_TTL, 33},
};

const Option kOptionsV6[] = {
    {"IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS, 0x20},
    {"IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44},
};

void set_all(int fd, std::span<const Option> options) {
  for (const Option& option : options)
    if (option.value) host::set_option(fd, option.level, option.option, *option.value);
}

void read_all(int fd, std::span<const Option> options, std::map<std::string, int>& into) {
  for (const Option& option : options)
    into[option.name] = host::get_option(fd, option.level, option.option).value_or(-1);
}

std::map<std::string, int> read_socket(int fd, bool v6) {
  std::map<std::string, int> all;
  read_all(fd, kOptions, all);
  if (v6) read_all(fd, kOptionsV6, all);
  linger lingering{};
  host::read_option(fd, SOL_SOCKET, SO_LINGER, lingering);
  all["SO_LINGER on"] = lingering.l_onoff;
  all["SO_LINGER seconds"] = lingering.l_linger;
  std::array<char, 16> cc{};
  socklen_t length = cc.size();
  ::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc.data(), &length);
  all["TCP_CONGESTION " + std::string(cc.data())] = 1;
  tcp_info info{};
  host::read_tcp_info(fd, info);
  all["options"] = info.tcpi_options;
  all["snd_wscale"] = info.tcpi_snd_wscale;
  all["rcv_wscale"] = info.tcpi_rcv_wscale;
  all["snd_mss"] = static_cast<int>(info.tcpi_snd_mss);
  all["pmtu"] = static_cast<int>(info.tcpi_pmtu);
  all["snd_wnd"] = static_cast<int>(info.tcpi_snd_wnd);
  return all;
}

std::string difference(const std::map<std::string, int>& before,
                       const std::map<std::string, int>& after) {
  std::string text;
  for (const auto& [name, value] : before) {
    const auto now = after.find(name);
    const std::string is = now == after.end() ? "gone" : std::to_string(now->second);
    if (is != std::to_string(value))
      text.append(name)
          .append(" was ")
          .append(std::to_string(value))
          .append(" is ")
          .append(is + "; ");
  }
  return text;
}

class Options : public testing::TestWithParam<Family> {};

TEST_P(Options, SurviveTheWayThereAndBack) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(GetParam());
  const bool v6 = GetParam() == Family::kV6;
  set_all(c.host.get(), kOptions);
  if (v6) set_all(c.host.get(), kOptionsV6);
  const linger lingering{1, 9};
  ::setsockopt(c.host.get(), SOL_SOCKET, SO_LINGER, &lingering, sizeof lingering);
  ::setsockopt(c.host.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
  const auto before = read_socket(c.host.get(), v6);

  RingPair rings(kRingBytes);
  for (int round = 0; round < 2; ++round) {
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked) << parked.error().message;
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
    EXPECT_EQ(difference(before, read_socket(c.host.get(), v6)), "") << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Options,
                         testing::Values(Family::kV4, Family::kV6, Family::kMapped),
                         [](const auto& family) {
                           return std::string(family.param == Family::kV4   ? "V4"
                                              : family.param == Family::kV6 ? "V6"
                                                                            : "Mapped");
                         });

TEST(SocketOptions, DefaultsAreNotPinned) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  const auto before = read_socket(c.host.get(), false);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_EQ(difference(before, read_socket(c.host.get(), false)), "");
}

TEST(SocketOptions, ParkReadsWhatTheEngineNeeds) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  set_all(c.host.get(), kOptions);
  const linger lingering{1, 9};
  ::setsockopt(c.host.get(), SOL_SOCKET, SO_LINGER, &lingering, sizeof lingering);
  write_all(c.peer.get(), pattern(1, 1000));
  EXPECT_EQ(read_some(c.host.get(), 1000).size(), 1000u);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  const CachedState& cached = parked->state.cached;
  EXPECT_EQ(cached.ttl, 33);
  EXPECT_EQ(cached.tos, 0x10);
  EXPECT_EQ(cached.path_mtu, 1500);
  EXPECT_TRUE(cached.keepalive.enabled);
  EXPECT_EQ(cached.keepalive.idle_s, 11u);
  EXPECT_EQ(cached.keepalive.interval_s, 12u);
  EXPECT_EQ(cached.keepalive.probes, 5u);
  EXPECT_EQ(cached.user_timeout_ms, 12345u);
  EXPECT_TRUE(cached.linger_on);
  EXPECT_EQ(cached.linger_s, 9u);
  EXPECT_TRUE(cached.no_delay);
  EXPECT_TRUE(cached.cork);
  EXPECT_FALSE(cached.quick_ack) << "a fresh socket's mode is no wish of the program";
  EXPECT_EQ(cached.notsent_lowat, 16384u);
  const ConstState& constant = parked->state.constant;
  EXPECT_EQ(constant.tuple, c.tuple);
  EXPECT_EQ(constant.remote_mss, 1460);
  EXPECT_TRUE(constant.timestamps);
  EXPECT_TRUE(constant.sack);
  EXPECT_TRUE(constant.window_scaling);
  EXPECT_GT(constant.snd_wind_shift, 0);
  const DelegatedState& d = parked->state.delegated;
  EXPECT_GT(d.srtt_us, 0u);
  EXPECT_GE(d.rto_ms, 1u);
  EXPECT_EQ(d.cwnd_bytes % 1448, 0u);
  EXPECT_GE(d.cwnd_bytes, 10u * 1448);
  EXPECT_EQ(d.ssthresh_bytes, 0xffffffffu);
  EXPECT_GT(d.snd_wnd, 10000u);
  EXPECT_GT(d.rcv_wnd, 10000u);
  EXPECT_GE(d.silence_ms, 280u) << "keepalive goes on from where the host was";
  EXPECT_LT(d.silence_ms, 600'000u);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
}

// shutdown(SHUT_RD) shows as an end of file that no FIN has made.
TEST(SocketOptions, ShutdownOfReadingSurvives) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  ASSERT_EQ(::shutdown(c.host.get(), SHUT_RD), 0);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  EXPECT_EQ(parked->memo.shutdown_read, 1);
  EXPECT_EQ(parked->state.delegated.state, TcpState::kEstablished);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_TRUE(is_at_end_of_file(c.host.get()));
  write_all(c.host.get(), pattern(1, 10));
  EXPECT_EQ(read_some(c.peer.get(), 10), pattern(1, 10));
}

// A parked socket with keepalive on would probe, hear nothing and reset the connection.
TEST(SocketOptions, KeepaliveIsOffWhileParked) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  for (const auto& [option, value] :
       {std::pair{TCP_KEEPIDLE, 1}, {TCP_KEEPINTVL, 1}, {TCP_KEEPCNT, 1}})
    host::set_option(c.host.get(), IPPROTO_TCP, option, value);
  host::set_option(c.host.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  std::this_thread::sleep_for(std::chrono::milliseconds(2600));
  EXPECT_EQ(lab.steering().counters(c.tuple)->fenced_frames, 0u);
  EXPECT_EQ(kernel_state(c.host.get()), host::kKernelEstablished);
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_EQ(host::get_option(c.host.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_TRUE(finish(c, {.host_sends = pattern(1, 1000),
                         .peer_sends = pattern(2, 1000),
                         .host_expects = pattern(2, 1000),
                         .peer_expects = pattern(1, 1000)}));
}

TEST(SocketOptions, BoundDeviceSurvives) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  const std::string device = lab.net().left().device;
  ASSERT_EQ(::setsockopt(c.host.get(), SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                         static_cast<socklen_t>(device.size())),
            0);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked) << parked.error().message;
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  EXPECT_EQ(host::get_option(c.host.get(), SOL_SOCKET, SO_BINDTOIFINDEX),
            static_cast<int>(lab.net().left().ifindex));
  EXPECT_TRUE(finish(c, {.host_sends = pattern(1, 1000),
                         .peer_sends = {},
                         .host_expects = {},
                         .peer_expects = pattern(1, 1000)}));
}

}  // namespace
}  // namespace snp::test
