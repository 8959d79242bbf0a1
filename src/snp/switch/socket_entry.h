// The descriptor table's entry of a TCP socket that is no connection yet: with it stands whether
// the socket is non-blocking, so that nobody need ask the kernel when it connects. Any thread.
#pragma once

#include <cstdint>

#include <fcntl.h>

#include "snp/switch/fork.h"
#include "snp/switch/sys.h"
#include "snp/switch/table.h"

namespace snp::switch_ {

// Above the kind: whether it is known, what it is, and the number of forks until then, because
// another process may change it since.
inline constexpr std::uintptr_t kFlagsKnown = 8, kNonblocking = 16;
inline constexpr int kForksShift = 5;

inline std::uintptr_t socket_entry(bool is_nonblocking) noexcept {
  const auto kind = static_cast<std::uintptr_t>(EntryKind::kTcpSocket);
  const ProcessFacts& facts = process_facts();
  if (facts.pid == 0) return kind;  // forks are not counted yet
  return kind | kFlagsKnown | (is_nonblocking ? kNonblocking : 0) |
         std::uintptr_t{facts.forks.load(std::memory_order_relaxed)} << kForksShift;
}

// After fcntl() or ioctl(). Pre: `entry` is that of a socket.
inline void note_nonblocking(int fd, std::uintptr_t entry, bool is_nonblocking) noexcept {
  // One with duplicates stays unknown: they share the flag.
  if ((entry & kFlagsKnown) != 0) set_entry(fd, socket_entry(is_nonblocking));
}

inline std::uintptr_t without_flags(std::uintptr_t entry) noexcept {
  return kind_of(entry) == EntryKind::kTcpSocket
             ? static_cast<std::uintptr_t>(EntryKind::kTcpSocket)
             : entry;
}

// Of a socket that is about to be tracked.
inline bool is_nonblocking_socket(int fd) noexcept {
  const std::uintptr_t entry = entry_of(fd);
  if (entry == socket_entry(true) && (entry & kFlagsKnown) != 0) return true;
  if (entry == socket_entry(false) && (entry & kFlagsKnown) != 0) return false;
  const long flags = sys(SYS_fcntl, fd, F_GETFL, 0);
  return flags > 0 && (flags & O_NONBLOCK) != 0;
}

}  // namespace snp::switch_
