// The memory that this process shares with the processes its local connections lead to
// (ipc/pair.h), as snpd announces it on the control socket. Any thread; the control socket is read
// when somebody meets a pair or a lane that is not known yet, and now and then.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/ipc/pair.h"
#include "snp/switch/lock.h"
#include "snp/switch/session.h"

namespace snp::switch_ {

inline constexpr std::uint32_t kMaxPairs = 4096;  // of one process

// One side of a pair; a process that talks to itself has both. Never freed: a stale pointer meets
// another pair at worst, and its memory stays mapped (see dismantle() in pairs.cpp).
struct Pair {
  std::atomic<ipc::PairNumber> number{ipc::kNoPair};
  std::uint32_t side = 0;
  std::byte* base = nullptr;
  std::uint64_t size = 0;
  int process = -1;  // pidfd of the other side
  std::atomic<bool> is_gone{false};
  // The other side took `sleeping` back and had no descriptor to write, because snpd went before it
  // had passed it on: waiters must look by themselves.
  std::atomic<bool> is_mute{false};
  std::atomic<bool> is_dead{false};  // its process has ended, as seen at `looked`
  std::atomic<Instant::rep> looked{0};
  bool is_dismantled = false;
  // By PairIndex: the slot + 1 of the connection; 0 when there was none yet.
  std::atomic<std::uint32_t>* slots = nullptr;
  std::atomic<std::uint32_t> slots_end{0};
  // The other side's eventfds by lane, + 1; 0: not known, kNoBell: it came without a descriptor.
  std::array<std::atomic<int>, ipc::kLanes> peer_bells{};

  Lock lock;  // guards what follows
  std::array<std::uint64_t, ipc::kLanes / 64> used_lanes{};
  std::array<int, ipc::kLanes> bells{};  // our eventfds by lane, + 1; 0: none yet

  Pair* next = nullptr;  // of the session; guarded by its pairs_lock
  Pair* next_free = nullptr;
};
inline constexpr int kNoBell = -1;

inline ipc::Lane& own_lane(const Pair& pair, ipc::LaneId id) noexcept {
  return *reinterpret_cast<ipc::Lane*>(pair.base + ipc::lane_offset(pair.side, id));
}
inline ipc::Lane& peer_lane(const Pair& pair, ipc::LaneId id) noexcept {
  return *reinterpret_cast<ipc::Lane*>(pair.base + ipc::lane_offset(1 - pair.side, id));
}
inline ipc::PairConnection& connection_in(const Pair& pair, ipc::PairIndex index) noexcept {
  return *reinterpret_cast<ipc::PairConnection*>(pair.base + ipc::pair_connection_offset(index));
}

// Takes in what snpd has sent. Not in a forked child, whose parent's socket it is.
void read_control(Session& session) noexcept;
// nullptr: snpd has not announced it, or it could not be mapped.
Pair* find_pair(Session& session, ipc::PairNumber number, std::uint32_t side) noexcept;

// A lane of ours for one waiter, known to the other side: `wanted` when it is free. 0: none left.
ipc::LaneId take_lane(Session& session, Pair& pair, ipc::LaneId wanted) noexcept;
void give_lane(Session& session, Pair& pair, ipc::LaneId id) noexcept;
// The eventfd of a lane that was taken. The other side may have made it block: read it with
// RWF_NOWAIT or watch its edges.
int lane_bell(Pair& pair, ipc::LaneId id) noexcept;

// Has the process at the other side ended? For when snpd is not there to know; a few milliseconds
// late.
bool is_peer_dead(Pair& pair) noexcept;

void reset_pair_locks() noexcept;

}  // namespace snp::switch_
