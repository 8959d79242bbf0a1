// The engine: shards (one thread each) that own connections, behind the target interface.
// Control thread, except where noted.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/chimney/target.h"
#include "snp/device/packet_device.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/shared_memory.h"
#include "snp/netdma/copier.h"
#include "snp/stats/account.h"
#include "snp/stats/netdma_stats.h"
#include "snp/stats/stats_block.h"
#include "snp/tcp/connection.h"

namespace snp::engine {

struct EngineConfig {
  std::uint32_t shards = 1;
  std::uint32_t spin_us = 30;        // longest busy wait of a shard before it sleeps
  std::uint32_t held_frames = 4096;  // kept per shard for flows in hold
  Duration time_wait = tcp::Limits{}.time_wait;
  std::vector<int> cpus;  // shard i runs on cpus[i]; empty: the scheduler decides
  // The copy engine of a shard (NetDMA); null, or answers null: the CPU copies.
  std::function<std::unique_ptr<netdma::Channel>(std::uint32_t shard)> open_channel;
  netdma::CopierSettings copies;
  // Where shards count, in memory that outlives the engine; null: in their own. `stats`: by shard;
  // `paths`: two for each device of each shard; `accounts`: by FlowRecord::account.
  stats::EngineStats* stats = nullptr;
  stats::PathStats* paths = nullptr;
  stats::TargetAccount* accounts = nullptr;
};

// An attached process as shards see it. Owned by the engine until detach() has completed.
struct Arena {
  std::uint32_t number = 0;
  ipc::SharedMemory memory;
  // Wait set eventfds of the application; index: WaitSetId. Written by the control thread through
  // Engine::set_wait_set(), read by shards.
  std::vector<std::atomic<int>> wait_set_fds;
  // One eventfd per shard, for this process alone: what it does to them hurts no other.
  std::vector<UniqueFd> bells;
  // The application made one of its eventfds block us: it is woken no more.
  std::atomic<bool> is_blocking{false};
};

class Engine : public chimney::Target {
 public:
  // `bulletin` and `records` outlive the engine. Devices must offer one queue per shard.
  static Result<std::unique_ptr<Engine>> start(const EngineConfig& config,
                                               std::span<device::PacketDevice* const> devices,
                                               ipc::Bulletin& bulletin, ipc::FlowRecord* records);

  // Attached processes. The arena's bells go to the switch with kAttached. `bells`: those that it
  // has already, of an engine that died; as many as there are shards, or none.
  virtual Result<Arena*> attach(std::uint32_t number, ipc::SharedMemory memory,
                                std::vector<UniqueFd> bells) = 0;
  virtual void set_wait_set(Arena& arena, ipc::WaitSetId id, UniqueFd eventfd) = 0;
  // Marks the slot in its wait sets and wakes those that sleep (after a change of mode).
  virtual void notify(Arena& arena, ipc::SlotId slot) = 0;
  // Writes an eventfd of an application. False: it made us wait, and must not be written again.
  virtual bool ring(int eventfd) = 0;
  // Pre: none of its connections is in a hand-over. Connections that remain are finished without
  // the application (`by_exit`: as the kernel would at process exit). The arena lives until the
  // last is done.
  virtual void detach(Arena& arena) = 0;

  // Where the Handoff's rings belong: set in the flow record (arena, slot, shard, rings) before
  // initiate(). [initiate, terminate, update, release_frames: chimney::Target]

  // From one shard to another, between two packets: expect(), and when it is expected(), steering
  // to the new shard, which holds the frames; move_out(), and when it has moved_out(), the new
  // shard in its record, and move_in(), which initiated() answers. What the old shard finds in its
  // queue it processes before; what still reaches it later, it passes on. A refused() connection
  // stays where it is: steering back, and pass_on() what the new shard holds.
  virtual void expect(chimney::ConnectionId id, const FourTuple& tuple, std::uint32_t shard) = 0;
  // Of a connection whose frames were released and that is to come back to the same shard: from now
  // on that keeps them. Pre: it has an account of its own.
  virtual void recall(chimney::ConnectionId id) = 0;
  virtual void move_out(chimney::ConnectionId id, std::uint32_t shard) = 0;
  // `path`: as update() takes it; what was said in between has reached no shard. Once for each
  // moved_out().
  virtual void move_in(chimney::ConnectionId id, const CachedState& path) = 0;
  virtual void pass_on(const FourTuple& tuple, std::uint32_t from, std::uint32_t shard) = 0;

  // The shards' taps in a device's receive path (device::PacketQueue), there while flows come by
  // it. Both wait, untap() for tens of milliseconds: one thread at a time, neither the control
  // thread nor a shard, and not during stop(). When tap() fails, none is left. Pre of untap(): no
  // flow is steered.
  virtual Result<> tap(std::uint32_t ifindex) = 0;
  virtual Result<> untap(std::uint32_t ifindex) = 0;

  // Answers and events. Readable fd; dispatch() calls `events` on the control thread.
  [[nodiscard]] virtual int event_fd() const noexcept = 0;
  virtual void dispatch(chimney::TargetEvents& events) = 0;

  // What a shard knows of a connection; answered from a snapshot not older than a second. Any
  // thread.
  [[nodiscard]] virtual bool info(chimney::ConnectionId id, tcp::Info& out) const = 0;

  // What the shards have counted, summed. Any thread.
  [[nodiscard]] virtual stats::Snapshot<stats::EngineMetric> stats() const = 0;

  // NetDMA, live: copies under way go on as they began.
  virtual void set_copies(const netdma::CopierSettings& settings) = 0;
  [[nodiscard]] virtual stats::NetdmaSnapshot netdma_stats() const = 0;  // summed. Any thread

  virtual void stop() = 0;  // joins the shards; Pre: no connection is left
};

}  // namespace snp::engine
