// Each state x family x side x queues: into the rings, silence, home again, and then the transfer
// ends as if nothing had happened: all bytes both ways, end of file, no reset (HANDOVER acceptance
// of the design, sections 2 and 3).
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"
#include "snp/wire/segment.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

enum class Situation { kEstablished, kCloseWait, kFinWait1, kFinWait2, kFinPending };
enum class Queues { kEmpty, kFull };
enum class Role { kServer, kClient };

using Case = std::tuple<Situation, Family, Queues, Role>;

constexpr std::uint32_t kRingBytes = 4 << 20;
constexpr std::size_t kFitsInWindow = 40000;   // the peer's data that arrives before its FIN
constexpr std::size_t kFitsInFlight = 10000;   // leaves at once, with the FIN behind it
constexpr std::size_t kMoreThanFits = 600000;  // fills both queues

bool host_has_shut(Situation s) {
  return s == Situation::kFinWait1 || s == Situation::kFinWait2 || s == Situation::kFinPending;
}

TcpState expected_state(Situation s) {
  switch (s) {
    case Situation::kCloseWait:
      return TcpState::kCloseWait;
    case Situation::kFinWait1:
      return TcpState::kFinWait1;
    case Situation::kFinWait2:
      return TcpState::kFinWait2;
    default:
      return TcpState::kEstablished;  // kFinPending: our FIN has not left
  }
}

std::uint32_t unread_bytes(int fd) {
  return host::ioctl_count(fd, SIOCINQ).value_or(0);
}

// Waits until the receive queue stops growing.
void settle(int fd) {
  std::uint32_t before = 0;
  for (int still = 0; still < 20; ++still) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const std::uint32_t now = unread_bytes(fd);
    if (now != before) still = 0;
    before = now;
  }
}

class EachState : public testing::TestWithParam<Case> {
 protected:
  // Brings the connection into the situation; what was written so far is kept here.
  void arrange() {
    const auto [situation, family, queues, role] = GetParam();
    const bool full = queues == Queues::kFull;
    c_ = lab_.connect_pair(family, role == Role::kClient);
    if (full)
      peer_wrote_ =
          fill_from(c_.peer, 2, situation == Situation::kCloseWait ? kFitsInWindow : kMoreThanFits);
    if (situation == Situation::kCloseWait) {
      ASSERT_EQ(::shutdown(c_.peer.get(), SHUT_WR), 0);
    }
    settle(c_.host.get());
    if (situation == Situation::kCloseWait) {
      ASSERT_TRUE(wait_for_state(c_.host.get(), host::kKernelCloseWait));
    }

    if (situation == Situation::kFinWait2) {
      ASSERT_EQ(::shutdown(c_.host.get(), SHUT_WR), 0);
      ASSERT_TRUE(wait_for_state(c_.host.get(), host::kKernelFinWait2));
      return;
    }
    lab_.block_ingress(c_);
    const bool all_leaves = situation == Situation::kFinWait1;
    if (full || situation == Situation::kFinPending)
      host_wrote_ = fill_from(c_.host, 1, all_leaves ? kFitsInFlight : kMoreThanFits);
    if (host_has_shut(situation)) {
      ASSERT_EQ(::shutdown(c_.host.get(), SHUT_WR), 0);
    }
  }

  static Bytes fill_from(const UniqueFd& fd, std::uint32_t seed, std::size_t most) {
    Bytes bytes = pattern(seed, most);
    bytes.resize(fill(fd.get(), bytes));
    return bytes;
  }

  void check_rings(const host::Parked& parked) const {
    const Bytes unread = ring_bytes(rings_.rx, parked.rx_range);
    ASSERT_LE(unread.size(), peer_wrote_.size());
    EXPECT_TRUE(std::equal(unread.begin(), unread.end(), peer_wrote_.begin()));
    const Bytes to_send = ring_bytes(rings_.tx, parked.tx_range);
    ASSERT_LE(to_send.size(), host_wrote_.size());
    EXPECT_TRUE(std::equal(to_send.rbegin(), to_send.rend(), host_wrote_.rbegin()));
    if (std::get<2>(GetParam()) == Queues::kFull) {
      EXPECT_GT(unread.size(), 0u);
      EXPECT_EQ(to_send.empty(), std::get<0>(GetParam()) == Situation::kFinWait2);
    }
  }

  // Empty, ESTABLISHED, and whatever the peer says draws no answer.
  void check_silence(WireTap& tap) {
    EXPECT_EQ(kernel_state(c_.host.get()), host::kKernelEstablished);
    EXPECT_EQ(unread_bytes(c_.host.get()), 0u);
    EXPECT_EQ(host::ioctl_count(c_.host.get(), SIOCOUTQ), 0u);
    const auto fenced = lab_.steering().counters(c_.tuple)->fenced_frames;
    tap.take();
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    for (const WireTap::Seen& seen : tap.take())
      EXPECT_FALSE(seen.from_left) << "flags " << int{seen.flags};
    EXPECT_EQ(lab_.steering().counters(c_.tuple)->fenced_frames, fenced);
  }

  [[nodiscard]] Transfer rest() const {
    const Situation situation = std::get<0>(GetParam());
    Transfer t;
    t.host_shuts = !host_has_shut(situation);
    t.peer_shuts = situation != Situation::kCloseWait;
    if (t.host_shuts) t.host_sends = pattern(3, 50000);
    if (t.peer_shuts) t.peer_sends = pattern(4, 50000);
    t.host_expects = peer_wrote_ + t.peer_sends;
    t.peer_expects = host_wrote_ + t.host_sends;
    return t;
  }

  ParkingLab lab_;
  Connection c_;
  RingPair rings_{kRingBytes};
  Bytes host_wrote_, peer_wrote_;
};

TEST_P(EachState, ComesHomeWhole) {
  ASSERT_NO_FATAL_FAILURE(arrange());
  WireTap tap(lab_.net());
  const auto parked = lab_.park(c_, rings_);
  ASSERT_TRUE(parked) << parked.error().message;
  const DelegatedState& d = parked->state.delegated;
  const Situation situation = std::get<0>(GetParam());
  EXPECT_STREQ(to_string(d.state), to_string(expected_state(situation)));
  EXPECT_EQ(d.fin_pending, situation == Situation::kFinPending);
  ASSERT_NO_FATAL_FAILURE(check_rings(*parked));
  check_silence(tap);

  const auto unparked = lab_.unpark(c_, *parked, rings_);
  ASSERT_TRUE(unparked) << unparked.error().message;
  EXPECT_TRUE(finish(c_, rest()));
  for (const WireTap::Seen& seen : tap.take())
    EXPECT_FALSE((seen.flags & TcpFlags::kRst) != 0) << (seen.from_left ? "host" : "peer");
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  static constexpr const char* kSituations[] = {"Established", "CloseWait", "FinWait1", "FinWait2",
                                                "FinPending"};
  static constexpr const char* kFamilies[] = {"V4", "V6", "Mapped", "LinkLocal"};
  const auto [situation, family, queues, role] = info.param;
  return std::string(kSituations[static_cast<int>(situation)]) +
         kFamilies[static_cast<int>(family)] + (queues == Queues::kFull ? "Full" : "Empty") +
         (role == Role::kClient ? "Client" : "Server");
}

INSTANTIATE_TEST_SUITE_P(
    HandOver, EachState,
    testing::Combine(testing::Values(Situation::kEstablished, Situation::kCloseWait,
                                     Situation::kFinWait1, Situation::kFinWait2,
                                     Situation::kFinPending),
                     testing::Values(Family::kV4, Family::kV6, Family::kMapped, Family::kLinkLocal),
                     testing::Values(Queues::kEmpty, Queues::kFull),
                     testing::Values(Role::kServer, Role::kClient)),
    name_of);

}  // namespace
}  // namespace snp::test
