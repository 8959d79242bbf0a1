// The engine is killed inside park(), after each of its system calls in turn: the keeper's recovery
// brings the connection home from the flow record, and not a byte is lost (design section 4).
#include <array>
#include <csignal>
#include <string>

#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"
#include "snp/wire/segment.h"

#include "test/handover/recovery_lab.h"

namespace snp::test {
namespace {

constexpr std::size_t kBytesARound = 700;

// Runs `work` in a child process that is killed as it comes out of its `last`-th system call.
// False: it has come to its end before.
template <class Work>
bool is_killed_after(int last, Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    work();
    ::_exit(0);
  }
  constexpr int kSystemCall = SIGTRAP | 0x80;
  int status = 0;
  ::waitpid(child, &status, 0);
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (int stops = 0; stops < 2 * last;) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return false;
    if (WSTOPSIG(status) == kSystemCall) ++stops;  // once as it goes in, once as it comes out
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return true;
}

enum class Half { kBothOpen, kPeerHasShut, kHostHasShut };

class KilledInPark : public RecoveryLab, public testing::WithParamInterface<Half> {
 protected:
  void park() {
    if (!park_socket()) ::_exit(1);
  }

  void recover_and_look() {
    const auto report = recover(daemon::Aim::kResume);
    EXPECT_EQ(report.home, 1u);
    EXPECT_EQ(ipc::mode_of(slot_.engine.mode_word), ipc::SlotMode::kInHost);
    EXPECT_EQ(record_.status, ipc::FlowStatus::kFree);
    for (const int option : {SO_KEEPALIVE, SO_REUSEADDR})
      EXPECT_EQ(host::get_option(c_.host.get(), SOL_SOCKET, option), 1);
    const auto survey = host::survey(c_.host.get());
    EXPECT_TRUE(survey);
    EXPECT_EQ(chimney::text_of(survey->reason).name, "offloaded") << "as fit to move as before";
  }
};

TEST_P(KilledInPark, NoByteIsLost) {
  const bool peer_writes = GetParam() != Half::kPeerHasShut;
  const bool host_writes = GetParam() != Half::kHostHasShut;
  connect(Family::kV4);
  WireTap tap(lab_.net());
  Bytes from_peer = pattern(2, 5000);
  Bytes from_host = pattern(1, 3000);
  write_all(c_.peer.get(), from_peer);
  wait_for_unread(from_peer.size());
  if (!peer_writes) {
    ::shutdown(c_.peer.get(), SHUT_WR);
    ASSERT_TRUE(wait_for_state(c_.host.get(), host::kKernelCloseWait));
  }
  lab_.block_ingress(c_);
  write_all(c_.host.get(), from_host);
  if (!host_writes) ::shutdown(c_.host.get(), SHUT_WR);

  std::array<int, 5> seen{};  // by status of the record
  int seen_empty = 0;
  bool is_killed = true;
  for (int call = 1; is_killed; ++call) {
    SCOPED_TRACE("killed after system call " + std::to_string(call));
    if (call > 1 && peer_writes) {
      const Bytes more = pattern(static_cast<std::uint32_t>(10 + call), kBytesARound);
      write_all(c_.peer.get(), more);
      from_peer = from_peer + more;
      wait_for_unread(from_peer.size());
    }
    lab_.block_ingress(c_);
    if (call > 1 && host_writes) {
      const Bytes more = pattern(static_cast<std::uint32_t>(1000 + call), kBytesARound);
      write_all(c_.host.get(), more);
      from_host = from_host + more;
    }
    close_gate_and_hold();
    is_killed = is_killed_after(call, [this] { park(); });
    ++seen[static_cast<std::size_t>(record_.status.load())];
    seen_empty += kernel_state(c_.host.get()) == host::kKernelClose ? 1 : 0;
    recover_and_look();
    if (HasFailure()) return;
  }
  EXPECT_GT(seen[static_cast<std::size_t>(ipc::FlowStatus::kParking)], 0);
  EXPECT_GT(seen[static_cast<std::size_t>(ipc::FlowStatus::kSilenced)], 0);
  EXPECT_GT(seen[static_cast<std::size_t>(ipc::FlowStatus::kOffloaded)], 5);
  EXPECT_GT(seen_empty, 0) << "between disconnect and rebuilding";
  EXPECT_TRUE(finish(c_, {.host_sends = {},
                          .peer_sends = {},
                          .host_expects = from_peer,
                          .peer_expects = from_host,
                          .host_shuts = host_writes,
                          .peer_shuts = peer_writes}));
  for (const WireTap::Seen& segment : tap.take())
    EXPECT_EQ(segment.flags & TcpFlags::kRst, 0);
}

std::string name_of(const testing::TestParamInfo<Half>& state) {
  constexpr std::array kNames{"BothOpen", "PeerHasShut", "HostHasShut"};
  return kNames[static_cast<std::size_t>(state.param)];
}

INSTANTIATE_TEST_SUITE_P(States, KilledInPark,
                         testing::Values(Half::kBothOpen, Half::kPeerHasShut, Half::kHostHasShut),
                         name_of);

}  // namespace
}  // namespace snp::test
