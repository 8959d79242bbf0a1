// One TCP connection of this process, shared by all its duplicated descriptors: the way to its slot
// in the arena, the gate, and what the switch remembers of it. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/ipc/slot_gate.h"
#include "snp/switch/ends.h"
#include "snp/switch/fork.h"
#include "snp/switch/lock.h"
#include "snp/switch/session.h"
#include "snp/switch/signals.h"
#include "snp/switch/table.h"

namespace snp::switch_ {

struct EpollEntry;

// Codes of chimney/reasons.def that the switch itself gives.
enum class Why : std::uint16_t {
  kSharedDescriptor = 24,
  kUnsupportedCall = 25,
  kTooManyWaiters = 29,
  kRingFull = 40,
};

// What snpd answers in the slot (reasons.def), as far as the switch asks again or counts by it.
enum class SlotAnswer : std::uint16_t {
  kNone = 0,
  kNotAskedYet = 1,
  kTargetFull = 19,
  kArenaFull = 20,
  kBusy = 21,
  kNotEarned = 54,
  kIdle = 55,
};
inline SlotAnswer answer_in(const ipc::Slot& slot) noexcept {
  return static_cast<SlotAnswer>(slot.engine.reason.load());
}

// `epoch` of a connection that stays in the host for good: its calls go straight to the kernel.
inline constexpr std::uint32_t kSettled = 0xffffffff;

struct alignas(64) Connection {
  Session* session = nullptr;
  ipc::Slot* slot = nullptr;
  ipc::SlotId slot_id = ipc::kNoSlot;
  std::atomic<std::uint32_t> epoch{
      0};  // fork_epoch() at birth: else another process's, or kSettled
  std::atomic<bool> is_nonblocking{false};
  // For the offload. For good: nobody need be asked again.
  std::atomic<bool> has_asked{false};
  std::atomic<bool> has_asked_early{false};  // the mode, a rule or history may want it at once
  std::atomic<std::uint8_t> times_asked{0};  // because it is worth it: each time at twice as much
  std::atomic<bool> error_taken{false};      // slot's error was reported: then end of file, EPIPE
  std::atomic<bool> timeouts_known{false};
  Lock read_lock, write_lock;      // around the rings' ends, inside the gate
  std::uint64_t window_told = 0;   // rx_tail when the shard was rung last for the window
  std::uint64_t tx_tail_seen = 0;  // a tx_tail of the past: saves a look at the other side's word
  std::uint32_t in_use = 0;        // the slot's word while it is ours
  std::uint32_t first_word = 0;    // mode word at birth: it is the same unless it ever moved
  ipc::OriginId origin = 0;

  std::atomic<std::uint32_t> descriptors{0};
  std::atomic<std::int64_t> receive_timeout_ns{0}, send_timeout_ns{0};  // 0: none

  Lock ends_lock;  // around loading them
  RingEnds ends;
  std::atomic<int> local_error{0};     // of a local connection that found its other side closed
  std::atomic<bool> is_broken{false};  // its words are nonsense
  // A local writer without room: how far the reader had read, and since when; see local.h.
  std::atomic<std::uint64_t> stall_tail{0};
  std::atomic<Instant::rep> stall_since{0};
  std::atomic<bool> wants_more{false};  // the last write could not put in everything

  std::atomic<std::uint32_t> news{0};  // for readers, besides what has arrived: see tell_watchers()

  Lock watch_lock;  // guards watch_users and the slot's wait_sets, and the same for lanes
  std::array<std::uint32_t, ipc::kWaitSetsPerSlot> watch_users{};
  std::array<ipc::LaneId, ipc::kWaitSetsPerSlot> lanes{};
  std::array<std::uint32_t, ipc::kWaitSetsPerSlot> lane_users{};
  EpollEntry* entries = nullptr;  // registrations; guarded by the epoll registry's lock
  Connection* next_free = nullptr;
};

// Passes the gate of a connection for the life of the object; when it is offloaded, its ends are
// loaded then. Nobody sleeps while holding one.
class Pass {
 public:
  // `signals`: of a call that may sleep after it, and must not miss one that comes while it waits.
  explicit Pass(Connection& c, SignalHold* signals = nullptr) noexcept
      : slot_(*c.slot), word_(ipc::try_enter(*c.slot)) {
    if (!in_host() && c.ends.word.load(std::memory_order_acquire) != word_) [[unlikely]]
      pass_slowly(c, signals);
  }
  ~Pass() { ipc::leave(slot_); }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  [[nodiscard]] bool in_host() const noexcept {
    return ipc::mode_of(word_) == ipc::SlotMode::kInHost;
  }
  [[nodiscard]] std::uint32_t word() const noexcept { return word_; }

 private:
  void pass_slowly(Connection& c, SignalHold* signals) noexcept;

  ipc::Slot& slot_;
  std::uint32_t word_;
};

// The same for an offloaded connection, without waiting: only if the mode word is still `word`.
class PassAt {
 public:
  PassAt(Connection& c, std::uint32_t word) noexcept;
  ~PassAt() {
    if (is_inside_) ipc::leave(slot_);
  }
  PassAt(const PassAt&) = delete;
  PassAt& operator=(const PassAt&) = delete;

  [[nodiscard]] bool is_inside() const noexcept { return is_inside_; }

 private:
  ipc::Slot& slot_;
  bool is_inside_ = false;
};

inline std::uint32_t mode_word(const Connection& c) noexcept {
  return c.slot->engine.mode_word.load();
}
inline ipc::SlotMode mode(const Connection& c) noexcept {
  return ipc::mode_of(mode_word(c));
}

// The connection whose calls at this descriptor are ours to route; nullptr: ask the kernel.
void disown(Connection& c) noexcept;
inline Connection* tracked(int fd) noexcept {
  const std::uintptr_t entry = entry_of(fd);
  if (entry == 0) [[likely]]
    return nullptr;
  Connection* c = connection_in(entry);
  if (c == nullptr) return nullptr;
  if (c->epoch.load(std::memory_order_relaxed) == fork_epoch()) [[likely]]
    return c;
  disown(*c);
  return nullptr;
}

// Starts to track a TCP socket, if snpd is there and has a slot. Leaves errno alone.
Connection* track(int fd, bool is_nonblocking) noexcept;
// Where it came from; once, before it is established.
void set_origin(Connection& c, ipc::OriginId origin) noexcept;
// An established connection: asks for the offload at once when policy says so.
void on_established(Connection& c) noexcept;

// Asks for the way home, for good.
void request_home(Connection& c, Why why) noexcept;
// And waits for it. Not inside a gate.
void settle_in_host(Connection& c, Why why) noexcept;
inline void settle_descriptor(int fd, Why why) noexcept {
  if (Connection* c = tracked(fd); c != nullptr) settle_in_host(*c, why);
}

// A descriptor of ours is about to be closed, or to be replaced by dup2: the switch's part of it.
void release_descriptor(int fd) noexcept;
// `fd` is a fresh duplicate of `original`.
void adopt_duplicate(int original, int fd) noexcept;

// Something takes long while the gate is closed or a waiter sleeps: is snpd still there? If it and
// its keeper are gone for good, the connection fails as after a reset.
void check_on_snpd(Connection& c) noexcept;

// Tells our own waiters of something that also those hear of who do not wait for room.
inline void tell_watchers(Connection& c) noexcept {
  c.news.fetch_add(1);
  mark_watchers(*c.session, *c.slot, c.slot_id);
}

// The slot tells this wait set from now on. False: its four places are taken. 0 stands for a waiter
// that looks again and again, because snpd is lost.
bool watch(Connection& c, ipc::WaitSetId id) noexcept;
enum class Keep : bool { kNo, kYes };  // kYes: leave the mark, until somebody needs the place
void unwatch(Connection& c, ipc::WaitSetId id, Keep keep) noexcept;

// What the kernel carried, for the policy.
void consider_offload(Connection& c) noexcept;
inline void count(Connection& c, std::atomic<std::uint64_t>& total,
                  std::atomic<std::uint32_t>& calls, long bytes) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  total.store(total.load(kRelaxed) + static_cast<std::uint64_t>(bytes), kRelaxed);
  calls.store(calls.load(kRelaxed) + 1, kRelaxed);
  if (c.has_asked.load(kRelaxed) ||
      c.session->bulletin->chimney.load(kRelaxed) == ipc::ChimneyMode::kDisabled)
    return;
  consider_offload(c);
}
inline void count_in(Connection& c, long bytes) noexcept {
  count(c, c.slot->facts.host_bytes_in, c.slot->facts.host_calls_in, bytes);
}
inline void count_out(Connection& c, long bytes) noexcept {
  count(c, c.slot->facts.host_bytes_out, c.slot->facts.host_calls_out, bytes);
}

// Every connection of the pool, also free ones; for the fork handlers.
void mark_all_shared() noexcept;
void reset_connection_locks() noexcept;

}  // namespace snp::switch_
