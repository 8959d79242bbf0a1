// The application's side: doorbells, positions, flags and options, all of them hostile.
#include <cerrno>

#include "snp/engine/shard.h"

namespace snp::engine {

std::size_t Shard::answer_doorbells(Instant now) noexcept {
  std::size_t count = 0;
  for (ShardArena* arena : arenas_) {
    ipc::drain(arena->doorbells(), [&](ipc::SlotId slot) {
      ++count;
      stats_.add(M::kDoorbells);
      if (Flow* flow = arena->flow(slot); flow != nullptr)
        read_slot(*flow, now);
      else
        stats_.add(M::kDoorbellsStray);
    });
  }
  return count;
}

// Pre: the slot is not closed.
void Shard::read_slot(Flow& flow, Instant now) noexcept {
  touch(flow);
  const AppWords words = read_words(flow.slot->app);
  if (flow.is_hostile) {
    if ((words.flags & ipc::slot_flag::kClosed) != 0) close_slot(flow, true, now);
    return;
  }
  const tcp::Streams& streams = flow.connection->streams();
  const Bounds bounds{flow.accepted, streams.tx_range.begin, streams.tx.size, flow.rx_head};
  if (!is_plausible(words, bounds)) return punish(flow, now);

  const auto written = static_cast<std::uint32_t>(words.tx_head - flow.accepted.tx_head);
  const auto consumed = static_cast<std::uint32_t>(words.rx_tail - flow.accepted.rx_tail);
  const std::uint32_t new_flags = words.flags & ~flow.accepted.flags;
  flow.accepted = words;
  if (written != 0) {
    flow.is_write_notified = false;
    flow.has_written_pages = true;
    note_pages(flow);
    flow.record->tx_end.store(words.tx_head, std::memory_order_relaxed);
    flow.connection->on_written(written, now);
  }
  if (consumed != 0) {
    flow.record->rx_begin.store(words.rx_tail, std::memory_order_relaxed);
    flow.connection->on_consumed(consumed, now);
  }
  read_options(flow, now);
  if (new_flags != 0) apply_flags(flow, new_flags, now);
}

void Shard::read_options(Flow& flow, Instant now) noexcept {
  const std::uint32_t generation =
      flow.slot->app.options_generation.load(std::memory_order_acquire);
  if (generation == flow.options_generation) [[likely]]
    return;
  flow.options_generation = generation;
  apply_options(flow.slot->facts.options, flow.tuple.remote.address.is_v4(), flow.cached);
  rebuild(flow, now);
}

void Shard::apply_flags(Flow& flow, std::uint32_t flags, Instant now) noexcept {
  if ((flags & ipc::slot_flag::kShutdownWrite) != 0) flow.connection->shutdown_write(now);
  if ((flags & ipc::slot_flag::kClosed) != 0)
    close_slot(flow, (flow.accepted.flags & ipc::slot_flag::kAbort) != 0, now);
}

// The application will not come back: the slot is free at once, the rings serve the connection
// until it is finished. Unread data makes a close a reset, as in Linux (RFC 2525 2.17).
void Shard::close_slot(Flow& flow, bool aborts, Instant now) noexcept {
  const bool has_unread = flow.connection->streams().rx_range.length() != 0;
  if (aborts || has_unread)
    flow.connection->abort(now);
  else
    flow.connection->close(now);
  touch(flow);
  flow.record->slot = ipc::kNoSlot;
  flow.status |= ipc::slot_status::kReleased;
  flow.arena->bind(flow.slot_id, nullptr);
  flow.slot->engine.status.store(flow.status, std::memory_order_release);
  flow.slot = nullptr;
}

// Nonsense in the arena: whatever the application meant, its peer must not take it for data.
void Shard::punish(Flow& flow, Instant now) noexcept {
  stats_.add(M::kConnectionsHostile);
  flow.is_hostile = true;
  flow.slot->engine.reason.store(static_cast<std::uint16_t>(chimney::Reason::kHostile),
                                 std::memory_order_relaxed);
  flow.connection->abort(now);
  set_error(flow, ECONNABORTED);
}

}  // namespace snp::engine
