#include "snp/switch/ends.h"

#include <bit>

#include "snp/switch/connection.h"
#include "snp/switch/local.h"
#include "snp/switch/pairs.h"

namespace snp::switch_ {
namespace {

void load_engine_ends(Connection& c) noexcept {
  ipc::Slot& slot = *c.slot;
  RingEnds& e = c.ends;
  e.rx_head = &slot.engine.rx_head;
  e.rx_tail = &slot.app.rx_tail;
  e.tx_head = &slot.app.tx_head;
  e.tx_tail = &slot.engine.tx_tail;
  e.wants_write = &slot.app.wants_write;
  e.rx = {c.session->base + slot.engine.rx_ring, slot.engine.rx_size};
  e.tx = {c.session->base + slot.engine.tx_ring, slot.engine.tx_size};
  e.pair = nullptr;
  // The one of an earlier stay may lie beyond: what the host has sent and not got acknowledged
  // comes into the ring anew, below what had been acknowledged then.
  c.tx_tail_seen = e.tx_tail->load();
}

bool is_ring_in(const Pair& pair, std::uint64_t offset, std::uint32_t size) noexcept {
  return std::has_single_bit(size) && offset >= ipc::kPairRingsOffset && offset <= pair.size &&
         size <= pair.size - offset;
}

bool load_pair_ends(Connection& c) noexcept {
  const ipc::SlotEngineSide& engine = c.slot->engine;
  if (engine.pair_side > 1 || engine.pair_index >= ipc::kSlots) return false;
  Pair* pair = find_pair(*c.session, engine.pair, engine.pair_side);
  if (pair == nullptr || !is_ring_in(*pair, engine.rx_ring, engine.rx_size) ||
      !is_ring_in(*pair, engine.tx_ring, engine.tx_size))
    return false;
  ipc::PairConnection& shared = connection_in(*pair, engine.pair_index);
  RingEnds& e = c.ends;
  const ipc::PairEnd* before = e.pair != nullptr ? e.mine : nullptr;
  e.mine = &shared.end[pair->side];
  e.theirs = &shared.end[1 - pair->side];
  e.rx_head = &e.theirs->tx_head;
  e.rx_tail = &e.mine->rx_tail;
  e.tx_head = &e.mine->tx_head;
  e.tx_tail = &e.theirs->rx_tail;
  e.wants_write = &e.mine->wants_write;
  e.rx = {pair->base + engine.rx_ring, engine.rx_size};
  e.tx = {pair->base + engine.tx_ring, engine.tx_size};
  e.pair = pair;
  e.index = engine.pair_index;
  pair->slots[e.index].store(c.slot_id + 1);
  std::uint32_t end = pair->slots_end.load();
  while (end <= e.index && !pair->slots_end.compare_exchange_weak(end, e.index + 1)) {
  }
  begin_local(c, before);
  return true;
}

}  // namespace

bool load_ends(Connection& c, std::uint32_t word) noexcept {
  const Guard guard(c.ends_lock);
  if (c.ends.word.load(std::memory_order_relaxed) == word) return true;
  if (c.slot->engine.pair == ipc::kNoPair)
    load_engine_ends(c);
  else if (!load_pair_ends(c))
    return false;
  c.ends.word.store(word, std::memory_order_release);
  return true;
}

}  // namespace snp::switch_
