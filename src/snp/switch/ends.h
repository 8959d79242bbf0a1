// The application's ends of the rings of an offloaded connection, the same for every target: words
// in the slot and rings in the arena when the engine carries it, words and rings in the memory of a
// pair when it is local. What differs is told by `pair`, and kept in local.h.
#pragma once

#include <atomic>
#include <cstdint>

#include "snp/ipc/pair.h"
#include "snp/state/stream_ring.h"

namespace snp::switch_ {

struct Connection;
struct Pair;

// Loaded once per hand-over, by the first call that passes the gate, under Connection::ends_lock.
// Inside the gate they are right. A look from outside takes the mode word before and after: when
// both times it is `word`, nobody has touched them in between.
struct RingEnds {
  std::atomic<std::uint32_t> word{0};  // the mode word they belong to; 0: none
  std::atomic<std::uint64_t>* rx_head = nullptr;
  std::atomic<std::uint64_t>* rx_tail = nullptr;  // ours
  std::atomic<std::uint64_t>* tx_head = nullptr;  // ours
  std::atomic<std::uint64_t>* tx_tail = nullptr;
  std::atomic<std::uint32_t>* wants_write = nullptr;  // ours
  StreamRing rx, tx;

  Pair* pair = nullptr;  // nullptr: the engine
  ipc::PairEnd* mine = nullptr;
  ipc::PairEnd* theirs = nullptr;
  ipc::PairIndex index = 0;
};

// Makes the ends right for `word`. Pre: inside the gate, whose word it is, in mode Offloaded.
// False: they cannot be had (no memory, no descriptors, nonsense); the connection must go home.
bool load_ends(Connection& c, std::uint32_t word) noexcept;

}  // namespace snp::switch_
