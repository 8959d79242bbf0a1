// What the switch knows of each descriptor: one word, read without a lock. Zero, for a descriptor
// that is none of ours, costs one load.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace snp::switch_ {

struct Connection;
class EpollInstance;

inline constexpr unsigned kMaxFds = 1u << 20;  // higher ones are never tracked

// The low bits of an entry.
enum class EntryKind : std::uintptr_t {
  kConnection = 0,  // a Connection*, unless the whole word is zero
  kEpoll = 1,       // an EpollInstance* | 1
  kTcpSocket = 2,   // a TCP socket that is no connection yet; see socket_entry.h
  kListener = 3,    // a listening TCP socket
  kNever = 4,       // not TCP, or in use in a way that the switch cannot follow
  kInternal = 5,    // the switch's own; the program must not close it
};
inline constexpr std::uintptr_t kEntryKindMask = 7;

inline std::atomic_ref<std::uintptr_t> fd_table(int fd) noexcept {
  static constinit std::array<std::uintptr_t, kMaxFds> table{};
  return std::atomic_ref<std::uintptr_t>(table[static_cast<unsigned>(fd)]);
}

inline std::uintptr_t entry_of(int fd) noexcept {
  if (static_cast<unsigned>(fd) >= kMaxFds) [[unlikely]]
    return 0;
  return fd_table(fd).load(std::memory_order_acquire);
}

constexpr EntryKind kind_of(std::uintptr_t entry) noexcept {
  return static_cast<EntryKind>(entry & kEntryKindMask);
}

inline Connection* connection_in(std::uintptr_t entry) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a tagged pointer
  return kind_of(entry) == EntryKind::kConnection ? reinterpret_cast<Connection*>(entry) : nullptr;
}
inline Connection* connection_at(int fd) noexcept {
  return connection_in(entry_of(fd));
}
inline EpollInstance* epoll_in(std::uintptr_t entry) noexcept {
  return kind_of(entry) == EntryKind::kEpoll
             // NOLINTNEXTLINE(performance-no-int-to-ptr): a tagged pointer
             ? reinterpret_cast<EpollInstance*>(entry & ~kEntryKindMask)
             : nullptr;
}

// One past the highest descriptor that ever had an entry.
inline std::atomic<int>& highest_entry() noexcept {
  static constinit std::atomic<int> end{0};
  return end;
}

inline bool set_entry(int fd, std::uintptr_t entry) noexcept {
  if (static_cast<unsigned>(fd) >= kMaxFds) return false;
  int end = highest_entry().load(std::memory_order_relaxed);
  while (end <= fd && !highest_entry().compare_exchange_weak(end, fd + 1)) {
  }
  fd_table(fd).store(entry, std::memory_order_release);
  return true;
}
inline bool set_entry(int fd, EntryKind kind) noexcept {
  return set_entry(fd, static_cast<std::uintptr_t>(kind));
}
inline void clear_entry(int fd) noexcept {
  if (entry_of(fd) != 0) fd_table(fd).store(0, std::memory_order_release);
}

}  // namespace snp::switch_
