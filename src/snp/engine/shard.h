// A shard: it owns its connections, its part of each device and its side of each attached process's
// rings. One thread calls run_once() (shard_thread.h), or a test does, in virtual time. No system
// call here but the devices', the wake-ups and, rarely, to give memory back; no allocation except
// when a connection comes or frames are held. Order of stores: ipc/flow_record.h.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "snp/engine/engine.h"
#include "snp/engine/flow.h"
#include "snp/engine/flow_table.h"
#include "snp/engine/held_frames.h"
#include "snp/engine/mail.h"
#include "snp/engine/pending_frames.h"
#include "snp/engine/shard_arena.h"
#include "snp/engine/timing_wheel.h"
#include "snp/engine/wake_guard.h"
#include "snp/netdma/copier.h"
#include "snp/stats/account.h"
#include "snp/stats/ledger.h"
#include "snp/stats/stats_block.h"
#include "snp/wire/frame.h"
#include "snp/wire/headers.h"

namespace snp::engine {

// The shard's part of a device.
struct DevicePort {
  std::unique_ptr<device::PacketQueue> queue;
  device::DeviceCaps caps;
  std::uint32_t ifindex = 0;
  bool has_sent = false;       // since the last flush
  std::uint64_t received = 0;  // frames
};

struct ShardConfig {
  std::uint32_t shard = 0;
  std::uint32_t held_frames = 4096;
  Duration hold_time = seconds(2);     // a frame that nobody claimed is forgotten after it
  Duration release_time = seconds(1);  // stragglers of a released tuple go to the host so long
  Duration time_wait = tcp::Limits{}.time_wait;
  std::uint64_t hash_seed = 0;
  // Where it counts, in memory that outlives it; null: in its own. `paths`: two for each port, by
  // family; `accounts`: by FlowRecord::account.
  stats::EngineStats* stats = nullptr;
  stats::PathStats* paths = nullptr;
  stats::TargetAccount* accounts = nullptr;
};

class Shard {
 public:
  // `answers` gets what the control thread must know; `records`: the flow records.
  Shard(const ShardConfig& config, std::vector<DevicePort> ports, ipc::FlowRecord* records,
        Mailbox& answers, WakeGuard& guard, Instant now);

  // Start-up only: received payload is copied with it from now on (netdma/).
  void use_copier(std::unique_ptr<netdma::Copier> copier);
  // Start-up only; later by mail.
  void configure_copies(const netdma::CopierSettings& settings) noexcept;
  // The end of the shard's thread: no engine touches a ring or a frame any more.
  void stop_copies() noexcept;

  // One turn. Returns how much there was to do; 0: idle.
  std::size_t run_once(Instant now) noexcept;

  // For the way to sleep: what needs no descriptor to be seen.
  [[nodiscard]] bool has_pending() const noexcept;
  [[nodiscard]] Instant next_deadline() const noexcept;
  // Waiters are to be woken soon: do not sleep before.
  [[nodiscard]] bool owes_wake() const noexcept { return wake_due_ != kNever; }
  // In the middle of a burst: the devices are not looked at before it is over, do not sleep.
  [[nodiscard]] bool gathers(Instant now) const noexcept {
    return gathers_until_ != kNever && now < gathers_until_;
  }
  // Frames wait for copies: do not sleep, but whoever copies may want this CPU.
  [[nodiscard]] bool awaits_copies() const noexcept { return !pending_.is_empty(); }
  // A waiter that was woken here wants this CPU: it has not gone back to sleep since.
  [[nodiscard]] bool has_woken_neighbour() noexcept {
    if (woken_here_ != nullptr && woken_here_->sleeping.load(std::memory_order_relaxed) != 0)
      woken_here_ = nullptr;
    return woken_here_ != nullptr;
  }
  // The last turns posted an answer.
  [[nodiscard]] bool take_answered() noexcept { return std::exchange(has_answered_, false); }
  void set_cpu(std::uint32_t cpu) noexcept { cpu_ = cpu; }

  [[nodiscard]] Mailbox& inbox() noexcept { return inbox_; }  // any thread posts
  [[nodiscard]] std::span<const DevicePort> ports() const noexcept { return ports_; }
  void count_sleep() noexcept { stats_.add(stats::EngineMetric::kSleeps); }
  [[nodiscard]] const stats::EngineStats& stats() const noexcept { return stats_; }  // any thread
  [[nodiscard]] const netdma::Copier* copier() const noexcept {
    return copier_.get();
  }                                                                  // its stats
  [[nodiscard]] stats::PathCounters path_counters() const noexcept;  // of all paths; any thread
  [[nodiscard]] std::size_t connections() const noexcept { return by_id_.size(); }

 private:
  using M = stats::EngineMetric;
  using P = stats::PathMetric;

  static constexpr std::size_t kEthernetHeaderBytes = sizeof(wire::EthernetHeader);
  static constexpr std::size_t kBurst = 64;
  static constexpr std::uint32_t kMaxPlans = 16;  // of one connection in one turn
  static constexpr std::size_t kMaxHeldBytes = 16u << 20;
  static constexpr Duration kInfoInterval = milliseconds(5);
  static constexpr Duration kBurstWait =
      microseconds(50);  // a reader's wait for the end of a burst
  // While a burst comes in single segments. Looking for each would cost its sender more than us:
  // each look takes the line back that it is about to write, and each ACK is a packet.
  static constexpr Duration kGatherTime = microseconds(20);
  static constexpr std::uint32_t kEagerBytes = 64 * 1024;  // enough to read at once
  static constexpr Duration kRestTime = seconds(10);

  // shard.cpp
  std::size_t receive(Instant now) noexcept;
  void on_frame(const device::RxFrame& frame, std::uint32_t port, Instant now) noexcept;
  void on_unknown_flow(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t port,
                       Instant now) noexcept;
  void on_fragment(const ParsedFrame& first) noexcept;
  void request_upload(Flow& flow, chimney::Reason reason) noexcept;
  void process(Flow& flow, const Segment& segment, Instant now) noexcept;
  void hold(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t port,
            Instant now) noexcept;
  void expire(Instant now) noexcept;
  bool give_back(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t port,
                 std::uint32_t account) noexcept;
  void count_unparsable(const device::RxFrame& frame, std::uint32_t port,
                        FrameVerdict verdict) noexcept;
  [[nodiscard]] stats::PathStats& path(std::uint32_t port, bool is_v6) noexcept {
    return paths_[2 * port + (is_v6 ? 1 : 0)];
  }
  [[nodiscard]] stats::PathStats& path(std::uint32_t port, const FourTuple& tuple) noexcept {
    return path(port, !tuple.local.address.is_v4());
  }
  [[nodiscard]] bool is_recalled(std::uint32_t account_id, std::uint32_t recalls) noexcept {
    return account(account_id).recalls.load() != recalls;
  }
  [[nodiscard]] stats::TargetAccount& account(std::uint32_t id) noexcept {
    return config_.accounts != nullptr ? config_.accounts[id] : own_account_;
  }
  void touch(Flow& flow) noexcept;

  // shard_copies.cpp
  bool wait_for_copy(Flow& flow, const Segment& segment, std::uint32_t port, Instant now) noexcept;
  std::size_t process_copied(Instant now) noexcept;
  void finish_copies(Instant now) noexcept;
  void keep_frames() noexcept;
  void note_waiting(bool waits, Instant now) noexcept;

  // shard_control.cpp
  std::size_t read_mail(Instant now) noexcept;
  void handle(Mail& mail, Instant now) noexcept;
  void initiate(Mail& mail, Instant now) noexcept;
  void enter(Flow& flow, ShardArena& arena, Instant now) noexcept;
  void take_held(Flow& flow, const device::RxFrame& frame, const Segment& segment,
                 Instant now) noexcept;
  void rebuild(Flow& flow, Instant now) noexcept;
  bool wait_for_gap(Mail& mail, Instant now) noexcept;
  void see_off(Instant now) noexcept;
  void terminate(Mail& mail, Instant now) noexcept;
  void hand_out(Mail& mail, Flow& flow, Instant now) noexcept;
  void move_out(Mail& mail, Instant now) noexcept;
  void move_in(Mail& mail, Instant now) noexcept;
  void release_frames(const Mail& mail, Instant now) noexcept;
  void drain_devices(Instant now) noexcept;
  void pass_on_held(const Mail& mail, Instant now) noexcept;
  void pass_on(const device::RxFrame& frame, std::uint32_t port, std::uint32_t shard) noexcept;
  void detach(ShardArena& arena, Instant now) noexcept;
  void forget(Flow& flow) noexcept;
  void answer(Mail& mail, MailKind kind) noexcept;
  void post_answers() noexcept;
  [[nodiscard]] std::uint32_t port_of(std::uint32_t ifindex) const noexcept;

  // shard_app.cpp
  std::size_t answer_doorbells(Instant now) noexcept;
  void read_slot(Flow& flow, Instant now) noexcept;
  void read_options(Flow& flow, Instant now) noexcept;
  void apply_flags(Flow& flow, std::uint32_t flags, Instant now) noexcept;
  void close_slot(Flow& flow, bool aborts, Instant now) noexcept;
  void punish(Flow& flow, Instant now) noexcept;

  // shard_output.cpp
  void settle(Instant now) noexcept;
  void commit(Flow& flow, Instant now) noexcept;
  void tell_application(Flow& flow, Instant now) noexcept;
  static void publish_buffers(Flow& flow) noexcept;
  void notify(Flow& flow, Instant wake_due) noexcept;
  void send_segments(Flow& flow, Instant now) noexcept;
  void send(Flow& flow, const tcp::SegmentPlan& plan) noexcept;
  void send_frame(Flow& flow, const tcp::SegmentPlan& plan, std::uint32_t offset,
                  std::uint32_t length, std::uint8_t flags) noexcept;
  void take_events(Flow& flow) noexcept;
  static void note_state(Flow& flow) noexcept;
  void set_error(Flow& flow, int error) noexcept;
  void publish_info(Flow& flow, Instant now) noexcept;
  static void note_sending(Flow& flow, Instant now) noexcept;
  static void begin_life(Flow& flow, Instant now) noexcept;
  static void publish_life(Flow& flow, const tcp::Info& info, Instant now) noexcept;
  void publish_stale_infos(Instant now) noexcept;
  bool wake_applications(Instant now) noexcept;  // true: it was time

  // shard_idle.cpp
  static void follow_streams(Flow& flow) noexcept;
  static bool rest_receive_ring(Flow& flow) noexcept;
  static bool rest_transmit_ring(Flow& flow) noexcept;
  void note_pages(Flow& flow) noexcept;
  void give_back_pages(Instant now) noexcept;

  const ShardConfig config_;
  std::vector<DevicePort> ports_;
  ipc::FlowRecord* const records_;
  Mailbox& answers_;
  WakeGuard& guard_;
  Mailbox inbox_;

  TupleMap<Flow*> flows_;
  absl::flat_hash_map<chimney::ConnectionId, Flow*> by_id_;
  struct Released {
    Instant until;
    std::uint32_t account;
    std::uint32_t recalls;
  };
  TupleMap<Released> released_;
  struct PassOn {
    Instant until;
    std::uint32_t shard;
  };
  TupleMap<PassOn> passed_on_;  // connections that other shards have now
  struct Leaving {
    Mail* mail;
    Instant until;
  };
  std::vector<Leaving> leaving_;  // these wait for a moment without a gap
  HeldFrames held_;
  TimingWheel wheel_;
  std::unique_ptr<netdma::Copier> copier_;
  PendingFrames pending_;
  bool is_copying_ = false;  // frames may have to wait for copies
  bool may_start_copies_ = true;
  Instant waits_since_ = kNever;
  Flow* touched_ = nullptr;
  std::vector<Flow*> with_pages_;  // those with has_filled_pages or has_written_pages
  Flow* stale_ = nullptr;
  std::vector<ShardArena*> arenas_;
  std::vector<ShardArena*> marked_arenas_;
  std::vector<Mail*> pending_answers_;
  std::array<device::RxFrame, kBurst> burst_;
  std::uint32_t cpu_ = 0xffffffff;
  const ipc::WaitSet* woken_here_ = nullptr;  // the last one that was woken on this CPU
  bool has_answered_ = false;
  bool is_in_burst_ = false;  // after the last frame
  Instant received_at_{};
  Instant gathers_until_ = kNever;  // the devices are not looked at before
  Instant next_expiry_ = kNever;
  Instant wake_due_ = kNever;    // when the marked waiters are to be woken
  Instant next_sweep_ = kNever;  // for connections that rest
  stats::EngineStats own_stats_;
  std::unique_ptr<stats::PathStats[]> own_paths_;
  stats::TargetAccount own_account_;
  stats::EngineStats& stats_;
  stats::PathStats* const paths_;
};

}  // namespace snp::engine
