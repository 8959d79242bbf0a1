// The shared memory between the two processes of local connections (doc/decisions/0005): what one
// side writes is what the other reads. One memfd per pair of attached processes, made and sealed
// (size) by snpd, mapped by exactly these two and by snpd, which stays off the data path. Both
// sides of a connection may be in one process, which then has two views of the same memory.
//
//   +------------+-----------------------------+----------------------+-------------------------+
//   | PairHeader | PairConnection[kSlots]      | Lane[2][kLanes]      | ring space              |
//   +------------+-----------------------------+----------------------+-------------------------+
//   0            kPairConnectionsOffset        kLanesOffset           kPairRingsOffset
//
// Every word of a PairEnd and of a Lane is written by its own side ("mine"), except where it says
// otherwise. Both sides can write everything, so each side reads all of it as hostile, its own
// words too: an index is masked, a length is bounded, and where the rings lie is read from the slot
// in the process's own arena (ipc/arena.h), never from here. A side that scribbles harms
// connections of this pair only.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/ipc/arena.h"

namespace snp::ipc {

inline constexpr std::uint32_t kPairMagic = 0x504e5370;
inline constexpr std::uint32_t kPairVersion = 1;
inline constexpr std::uint32_t kLanes = 256;  // waiters of one side that can be told; 0: none
using PairNumber = std::uint32_t;             // never used again by the same snpd
inline constexpr PairNumber kNoPair = 0;
using PairIndex = SlotId;  // of a connection in its pair, < kSlots
using LaneId = WaitSetId;

// PairEnd::flags bits, set once for the life of the connection in the pair, which begins with those
// that the sockets' states and the slots' flags (kShutdownWrite, kShutdownRead) say. Written by the
// side itself (by compare-and-swap, add_flags()), or for a process that is dead: by snpd, or, while
// snpd is away, by the other side.
namespace pair_flag {
inline constexpr std::uint32_t kEnd = 1u << 0;    // end of file after tx_head (shutdown, close)
inline constexpr std::uint32_t kGone = 1u << 1;   // closed: what is sent to it now draws a reset
inline constexpr std::uint32_t kReset = 1u << 2;  // closed with unread data, linger 0: RST
inline constexpr std::uint32_t kDeaf = 1u << 3;   // shut down for reading
// As kFrozen in the positions: no bit can be added any more.
inline constexpr std::uint32_t kFrozenFlags = 1u << 31;
}  // namespace pair_flag

// Both directions have ended, or one side has reset the other: whatever follows (a close, the end
// of a process) is no news to anybody.
constexpr bool is_over(std::uint32_t flags, std::uint32_t flags_of_the_other) noexcept {
  return ((flags | flags_of_the_other) & pair_flag::kReset) != 0 ||
         (flags & flags_of_the_other & pair_flag::kEnd) != 0;
}

// In tx_head and rx_tail: snpd takes the connection apart, nothing can be committed any more. The
// caller goes back to the gate, which snpd has closed on both sides before it froze anything: a
// frozen word behind an open gate is the other side's scribbling. Positions never reach it.
inline constexpr std::uint64_t kFrozen = 1ull << 63;

// One side of a connection. Positions count as in StreamRing. Two cache lines: the other side needs
// the first at every call, and the second only when the ring looks full to it.
struct alignas(64) PairEnd {
  std::atomic<std::uint64_t> tx_head{kFirstPosition};  // after the last byte written by this side
  std::atomic<std::uint32_t> flags{0};                 // pair_flag
  std::atomic<std::uint32_t> cpu{0xffffffff};          // where this side wrote last
  // Not 0: tell me when at most wants_write - 1 of my bytes are unread. Who tells takes it back
  // to 0.
  std::atomic<std::uint32_t> wants_write{0};
  std::atomic<std::uint32_t> receive_buffer{0};  // SO_RCVBUF, if this side's user set it
  std::array<std::atomic<LaneId>, kWaitSetsPerSlot> lanes{};  // who is to be told; 0: nobody
  // SO_RCVLOWAT, if above 1: for less unread bytes nobody is to be told of data.
  std::atomic<std::uint32_t> receive_low_at{0};
  std::array<std::uint32_t, 7> reserved_front{};

  std::atomic<std::uint64_t> rx_tail{kFirstPosition};  // next byte that this side reads
  std::array<std::uint32_t, 14> reserved_back{};
};
static_assert(sizeof(PairEnd) == 128);

struct PairConnection {
  std::array<PairEnd, 2> end;  // by side
};

// One waiter of one side, as this pair's other side sees it: as a WaitSet, but shared with this
// peer alone, with an eventfd of its own, so that no peer can swallow another's wake-ups.
struct alignas(64) Lane {
  std::atomic<std::uint32_t> sleeping{0};      // 1: write the eventfd; who does takes it back to 0
  std::atomic<std::uint32_t> cpu{0xffffffff};  // where the waiter went to sleep
  SlotBitmap ready;                            // PairIndex; the other side sets, the waiter drains
};

struct PairHeader {  // [snpd], before anybody sees it
  std::uint32_t magic = kPairMagic;
  std::uint32_t version = kPairVersion;
  PairNumber number = kNoPair;
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
};

inline constexpr std::size_t kPairConnectionsOffset = 4096;
inline constexpr std::size_t kLanesOffset =
    align_page(kPairConnectionsOffset + sizeof(PairConnection) * kSlots);
inline constexpr std::size_t kPairRingsOffset =
    align_page(kLanesOffset + sizeof(Lane) * kLanes * 2);

constexpr std::size_t pair_connection_offset(PairIndex index) noexcept {
  return kPairConnectionsOffset + sizeof(PairConnection) * index;
}
constexpr std::size_t lane_offset(std::uint32_t side, LaneId lane) noexcept {
  return kLanesOffset + sizeof(Lane) * (std::size_t{side} * kLanes + lane);
}

}  // namespace snp::ipc
