// The gate of a slot: calls of the application pass it, a hand-over closes it. Dekker's pattern:
// the application raises `users` and then reads the mode; snpd stores the mode and then reads
// `users`. So either the call sees the closed gate or snpd sees the call. Nobody sleeps inside the
// gate: blocking calls wait outside, with the descriptor's or the wait set's own means.
#pragma once

#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snp/ipc/arena.h"

namespace snp::ipc {

inline void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                       const timespec* relative_timeout) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, relative_timeout, nullptr, 0);
}

inline void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 0x7fffffff, nullptr, nullptr, 0);
}

// --- application's side ---

// Tries to pass. Returns the mode word under which the call runs; the caller must leave() after it.
// When the gate is closed (Offloading, Uploading) the caller is *not* inside: wait_at_gate() and
// try again.
[[nodiscard]] inline std::uint32_t try_enter(Slot& slot) noexcept {
  slot.app.users.fetch_add(1);
  return slot.engine.mode_word.load();
}
inline void leave(Slot& slot) noexcept {
  slot.app.users.fetch_sub(1, std::memory_order_release);
}

constexpr bool is_gate_open(std::uint32_t mode_word) noexcept {
  const SlotMode mode = mode_of(mode_word);
  return mode == SlotMode::kInHost || mode == SlotMode::kOffloaded;
}

// Sleeps until the mode word is no longer `seen`, 10 ms at most. Call it outside the gate.
inline void wait_at_gate(const Slot& slot, std::uint32_t seen) noexcept {
  const timespec limit{0, 10'000'000};
  futex_wait(slot.engine.mode_word, seen, &limit);
}

// Passes the gate, waiting while it is closed. Returns the mode word under which the call runs.
inline std::uint32_t enter(Slot& slot) noexcept {
  for (;;) {
    const std::uint32_t word = try_enter(slot);
    if (is_gate_open(word)) [[likely]]
      return word;
    leave(slot);
    wait_at_gate(slot, word);
  }
}

// --- snpd's side ---

// Changes the mode, with a new generation, and wakes who waits at the gate.
inline void set_mode(Slot& slot, SlotMode mode) noexcept {
  const std::uint32_t word = slot.engine.mode_word.load(std::memory_order_relaxed);
  slot.engine.mode_word.store(make_mode_word(generation_of(word) + 1, mode));
  futex_wake_all(slot.engine.mode_word);
}

// Closes the gate of an offloaded connection for a moment, for nothing that a caller could notice:
// afterwards reopen() brings back the word, and what belongs to it is right as before.
[[nodiscard]] inline std::uint32_t close_for_a_moment(Slot& slot) noexcept {
  const std::uint32_t word = slot.engine.mode_word.load(std::memory_order_relaxed);
  set_mode(slot, SlotMode::kUploading);
  return word;
}
inline void reopen(Slot& slot, std::uint32_t word) noexcept {
  slot.engine.mode_word.store(word);
  futex_wake_all(slot.engine.mode_word);
}

[[nodiscard]] inline bool has_users(const Slot& slot) noexcept {
  return slot.app.users.load() != 0;
}

}  // namespace snp::ipc
