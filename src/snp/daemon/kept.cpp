#include "snp/daemon/kept.h"

#include <algorithm>
#include <array>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snp::daemon {
namespace {

bool lingers(int fd) {
  linger how{};
  socklen_t length = sizeof how;
  return ::getsockopt(fd, SOL_SOCKET, SO_LINGER, &how, &length) == 0 && how.l_onoff != 0 &&
         how.l_linger > 0;
}

}  // namespace

KeptProgram::KeptProgram(std::uint32_t number, ipc::SharedMemory memory) {
  arena.number = number;
  arena.memory = std::move(memory);
  arena.wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
  for (auto& fd : arena.wait_set_fds)
    fd.store(-1, std::memory_order_relaxed);
}

KeptProgram::~KeptProgram() {
  for (auto& fd : arena.wait_set_fds)
    UniqueFd(fd.load(std::memory_order_relaxed)).reset();
}

void keep_wait_set(KeptProgram& program, ipc::WaitSetId id, UniqueFd eventfd) {
  UniqueFd(program.arena.wait_set_fds[id].exchange(eventfd.release())).reset();
}

// The last close() of a socket waits as SO_LINGER says, but not in a process that is exiting
// (Linux, inet_release()): so a child that exits is made to hold them last.
void close_sockets(std::unordered_map<ipc::FlowId, UniqueFd>& sockets) {
  const bool may_wait = std::any_of(sockets.begin(), sockets.end(),
                                    [](const auto& entry) { return lingers(entry.second.get()); });
  std::array<int, 2> ends{-1, -1};
  if (!may_wait || ::pipe2(ends.data(), O_CLOEXEC) != 0) return sockets.clear();
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[1]);
    char none = 0;
    while (::read(ends[0], &none, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }
  sockets.clear();
  ::close(ends[0]);
  ::close(ends[1]);
  if (child > 0) ::waitpid(child, nullptr, 0);
}

}  // namespace snp::daemon
