// Processes and the switch: which process an object belongs to.
#pragma once

#include <atomic>
#include <cstdint>

#include <sys/types.h>

namespace snp::switch_ {

struct ProcessFacts {
  std::uint32_t epoch = 1;  // +1 in every child after fork
  pid_t pid = 0;            // since the switch watches forks
  // Forks of this process and its ancestors: what was known of a descriptor may be changed
  // elsewhere.
  std::atomic<std::uint16_t> forks{0};
};

inline ProcessFacts& process_facts() noexcept {
  static constinit ProcessFacts facts{};
  return facts;
}
inline std::uint32_t fork_epoch() noexcept {
  return process_facts().epoch;
}

// Registers the fork handlers, once.
void watch_forks() noexcept;

// A child of vfork() runs in its parent's memory: what it does to descriptors must not change our
// tables. A system call, once anybody in this process has called vfork() or clone().
bool is_vfork_child() noexcept;

// Before exec or spawn: connections whose descriptors the new program inherits go home for good.
void settle_inherited() noexcept;

}  // namespace snp::switch_
