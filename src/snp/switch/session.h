// The attachment of this process to snpd: the arena, the bulletin, the bells, and who uses which
// slot and wait set. A process has one at a time; a lost one stays mapped, because its connections
// may still be coming home. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/base/time.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/shared_memory.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/switch/lock.h"

namespace snp::switch_ {

struct Pair;

struct Session {
  alignas(ipc::SharedMemory) std::byte arena_owner[sizeof(ipc::SharedMemory)];
  alignas(ipc::SharedMemory) std::byte bulletin_owner[sizeof(ipc::SharedMemory)];
  std::byte* base = nullptr;
  std::uint64_t size = 0;
  const ipc::Bulletin* bulletin = nullptr;
  ipc::Slot* slots = nullptr;
  ipc::WaitSet* wait_sets = nullptr;
  ipc::Doorbells* doorbells = nullptr;
  ipc::OriginRow* origins = nullptr;
  std::uint32_t shards = 0;
  std::uint32_t fork_epoch = 0;
  int control = -1;       // the AF_UNIX socket; its hang-up means that snpd is gone
  int control_bell = -1;  // eventfds
  std::array<int, ipc::kMaxShards> shard_bells{};
  // The sleep of the shard (Bulletin) for which its bell was written last.
  std::array<std::atomic<std::uint32_t>, ipc::kMaxShards> rung{};

  std::atomic<bool> lost{false};
  std::atomic<Instant::rep> lost_at{0};

  Lock lock;  // guards what follows
  std::uint32_t free_count = 0, fresh = 0;
  std::array<ipc::SlotId, ipc::kSlots> free_slots{};
  std::uint32_t retired_begin = 0, retired_count = 0;  // closed, but snpd still needs them
  std::array<ipc::SlotId, ipc::kSlots> retired{};
  std::array<std::uint64_t, ipc::kWaitSets / 64> wait_set_ids{};  // bit: in use
  std::array<std::atomic<int>, ipc::kWaitSets> wait_set_fds{};

  Lock pairs_lock;  // guards what follows, and who reads the control socket
  Pair* pairs = nullptr;
  Pair* free_pairs = nullptr;
  std::atomic<std::uint32_t> gone_pairs{0};    // announced as gone and not yet dismantled
  std::atomic<std::uint32_t> pair_changes{0};  // +1 when one goes: holders of lanes look
};

// The live session of this process, or nullptr; makes one when there is none, rarely when that
// failed before. Leaves errno alone.
Session* attach() noexcept;
// The live session, if there is one already.
Session* current_session() noexcept;
// In a forked child: sessions belong to the parent.
void forget_session() noexcept;

// Looks whether snpd hung up. Cheap once it has.
bool is_lost(Session& session) noexcept;
void mark_lost(Session& session) noexcept;

// A slot as fresh as at the start, not in use yet; kNoSlot when all are taken.
ipc::SlotId take_slot(Session& session) noexcept;
// Back to the free ones, or to those that snpd still needs (released by it later).
void give_slot(Session& session, ipc::SlotId id, bool snpd_needs_it) noexcept;

// A wait set and its eventfd, known to snpd. 0: none left, or the session is lost.
ipc::WaitSetId take_wait_set(Session& session, int eventfd) noexcept;
void give_wait_set(Session& session, ipc::WaitSetId id) noexcept;

void write_bell(int eventfd) noexcept;

// A descriptor of the switch's own: out of the program's way and protected from it. -1 stays -1.
int keep_internal(int fd) noexcept;
void close_internal(int fd) noexcept;

// One message with a descriptor.
bool send_with_fd(int control, const void* message, std::size_t length, int fd) noexcept;

// Tells our own waiters of a connection, as a shard would.
void mark_watchers(Session& session, ipc::Slot& slot, ipc::SlotId id) noexcept;

// Tells the slot's shard to look. Call after the stores that it shall see.
inline void ring_shard(Session& session, ipc::Slot& slot, ipc::SlotId id) noexcept {
  const std::uint32_t shard = slot.engine.shard.load(std::memory_order_relaxed) % session.shards;
  ipc::mark(session.doorbells->shard[shard], id);
  const std::uint32_t sleep = session.bulletin->shard[shard].sleeping.load();
  if (sleep == 0 || session.rung[shard].load(std::memory_order_relaxed) == sleep) return;
  session.rung[shard].store(sleep, std::memory_order_relaxed);
  write_bell(session.shard_bells[shard]);
}

inline void ring_control(Session& session, ipc::SlotId id) noexcept {
  ipc::mark(session.doorbells->control, id);
  if (session.bulletin->control.sleeping.load() != 0) write_bell(session.control_bell);
}

}  // namespace snp::switch_
