// The two ends of a local connection: single writer, single reader on each direction (the switch
// serialises its own threads), the other side hostile. No system call, no lock. Order: payload into
// the ring, then the position; a position is committed by compare-and-swap, so that freeze() can
// stop both sides at any moment, also one that is stopped in the middle of a call.
#pragma once

#include <algorithm>
#include <optional>

#include "snp/ipc/pair.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/state/stream_ring.h"

namespace snp::ipc {

// One side's view of a connection.
struct PairStream {
  PairEnd* mine = nullptr;
  PairEnd* theirs = nullptr;
  StreamRing rx, tx;
};

constexpr std::uint64_t position_of(std::uint64_t word) noexcept {
  return word & ~kFrozen;
}

// Bytes that lie between a tail and a head in a ring of `size`; nothing when the words cannot be
// true: the other side has scribbled, and the connection is as good as reset.
constexpr std::optional<std::uint32_t> bytes_between(std::uint64_t tail, std::uint64_t head,
                                                     std::uint32_t size) noexcept {
  const std::uint64_t n = position_of(head) - position_of(tail);
  if (n > size) return std::nullopt;
  return static_cast<std::uint32_t>(n);
}

[[nodiscard]] inline std::optional<std::uint32_t> unread(const PairStream& s) noexcept {
  return bytes_between(s.mine->rx_tail.load(std::memory_order_relaxed), s.theirs->tx_head.load(),
                       s.rx.size);
}
[[nodiscard]] inline std::optional<std::uint32_t> unread_by_peer(const PairStream& s) noexcept {
  return bytes_between(s.theirs->rx_tail.load(), s.mine->tx_head.load(std::memory_order_relaxed),
                       s.tx.size);
}

// Moves a position from `from` to `from + n`. False: frozen (or scribbled over); nothing happened
// as far as anybody can see, and the caller goes back to the gate.
[[nodiscard]] inline bool commit(std::atomic<std::uint64_t>& position, std::uint64_t from,
                                 std::uint64_t n) noexcept {
  return (from & kFrozen) == 0 && position.compare_exchange_strong(from, from + n);
}

// Adds flags. False: frozen, nothing happened, the caller goes back to the gate.
[[nodiscard]] inline bool add_flags(std::atomic<std::uint32_t>& flags,
                                    std::uint32_t bits) noexcept {
  std::uint32_t before = flags.load(std::memory_order_relaxed);
  do {
    if ((before & pair_flag::kFrozenFlags) != 0) return false;
  } while (!flags.compare_exchange_weak(before, before | bits));
  return true;
}

// snpd's side: after this nothing of the end can be committed any more. Returns how it stands. Pre:
// the gates of both sides are closed (or their process is dead), so that a caller whose commit
// fails does not come back before the connection is elsewhere.
struct FrozenEnd {
  std::uint64_t tx_head = 0, rx_tail = 0;
  std::uint32_t flags = 0;  // without kFrozenFlags
};
inline FrozenEnd freeze(PairEnd& end) noexcept {
  FrozenEnd frozen;
  frozen.tx_head = position_of(end.tx_head.fetch_or(kFrozen));
  frozen.rx_tail = position_of(end.rx_tail.fetch_or(kFrozen));
  frozen.flags = end.flags.fetch_or(pair_flag::kFrozenFlags) & ~pair_flag::kFrozenFlags;
  return frozen;
}

// As mark(), for a bit that is often set already: then only a load. The sequentially consistent
// load orders it after the caller's store, and drain() takes the bit before it looks.
inline void mark_once(SlotBitmap& map, SlotId slot) noexcept {
  const std::uint64_t bit = 1ull << (slot % 64);
  if ((map.words[slot / 64].load() & bit) == 0) mark(map, slot);
}

// Tells a waiter. True: it sleeps, and its eventfd is the caller's to write.
[[nodiscard]] inline bool tell(Lane& lane, PairIndex index) noexcept {
  mark_once(lane.ready, index);
  return lane.sleeping.load() != 0 && lane.sleeping.exchange(0) != 0;
}

}  // namespace snp::ipc
