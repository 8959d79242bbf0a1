// For tests: an application's side of an arena without the switch, and states of
// connections as if the host had handed them over.
#pragma once

#include <span>
#include <vector>

#include "snp/chimney/target.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/shared_memory.h"
#include "snp/ipc/slot_bitmap.h"

namespace snp::test {

// What a switch does with one arena, minus everything around it.
class FakeApp {
 public:
  static constexpr std::size_t kRingSpace = 64u << 20;

  // Memory for Engine::attach() or a ShardArena; map() keeps the application's own view of it.
  static ipc::SharedMemory make_memory();
  explicit FakeApp(const ipc::SharedMemory& memory) : base_(memory.data()) {}

  // Allocates a slot with a pair of rings, in the record, too.
  ipc::SlotId open_slot(ipc::FlowRecord& record, std::uint32_t arena, std::uint32_t shard,
                        std::uint32_t ring_size);

  [[nodiscard]] ipc::Slot& slot(ipc::SlotId id) const;
  [[nodiscard]] ipc::WaitSet& wait_set(ipc::WaitSetId id) const;
  [[nodiscard]] ipc::SlotBitmap& doorbells(std::uint32_t shard) const;
  [[nodiscard]] StreamRing rx(ipc::SlotId id) const;
  [[nodiscard]] StreamRing tx(ipc::SlotId id) const;

  // As much as fits; rings the doorbell. Returns how much.
  std::size_t write(ipc::SlotId id, std::span<const std::byte> bytes);
  std::size_t read(ipc::SlotId id, std::span<std::byte> bytes);
  [[nodiscard]] std::size_t readable(ipc::SlotId id) const;
  [[nodiscard]] std::uint32_t status(ipc::SlotId id) const;
  void move_slot(ipc::SlotId id, std::uint32_t shard) { rings_[id].shard = shard; }
  void set_flags(ipc::SlotId id, std::uint32_t flags);
  void ring(ipc::SlotId id);

 private:
  struct Rings {
    std::size_t rx = 0, tx = 0;
    std::uint32_t size = 0, shard = 0;
  };
  std::byte* base_;
  std::size_t next_ring_ = ipc::kRingsOffset;
  std::vector<Rings> rings_;  // by slot
};

// The two ends of a fresh connection between 10.0.0.1:port and 10.0.0.2:80. `end`: 0 or 1, device
// ifindex end + 1 (as the sim devices have).
chimney::Handoff make_handoff(std::size_t end, chimney::ConnectionId id, std::uint16_t port,
                              const FakeApp& app, ipc::SlotId slot);

// A reproducible stream: the byte at a position.
std::byte pattern(std::uint64_t seed, std::uint64_t position) noexcept;

}  // namespace snp::test
