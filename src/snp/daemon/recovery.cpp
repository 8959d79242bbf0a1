#include "snp/daemon/recovery.h"

#include <array>
#include <bit>

#include <netinet/in.h>
#include <sys/socket.h>

#include "snp/chimney/reason.h"
#include "snp/daemon/reinjector.h"
#include "snp/daemon/slot_access.h"
#include "snp/engine/clock.h"
#include "snp/host/parking.h"

namespace snp::daemon {
namespace {

constexpr Duration kGateLimit = milliseconds(20);

bool is_over(TcpState state) {
  return state == TcpState::kTimeWait || state == TcpState::kClosed;
}

// After FIN on both sides only acknowledgements are missing; unpark() refuses these states.
bool needs_only_acks(TcpState state) {
  return state == TcpState::kLastAck || state == TcpState::kClosing;
}

class Homecoming {
 public:
  Homecoming(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering)
      : kept_(kept), records_(records), steering_(steering) {
    if (auto opened = Reinjector::open()) reinjector_ = std::move(*opened);
  }

  enum class Outcome { kHome, kFinished, kLost };

  Outcome bring(ipc::FlowId id, int fd, std::string& why) {
    ipc::FlowRecord& record = records_[id];
    arena_ = nullptr;
    if (const auto found = kept_.arenas.find(record.arena); found != kept_.arenas.end())
      arena_ = found->second.get();
    slot_ = arena_ != nullptr && record.slot < ipc::kSlots ? &slot_at(arena_->memory, record.slot)
                                                           : nullptr;
    const ipc::FlowStatus status = record.status.load();
    if (status == ipc::FlowStatus::kFree) return Outcome::kFinished;
    if (status == ipc::FlowStatus::kParking || status == ipc::FlowStatus::kSilenced)
      return let_go(record, fd, why);
    return refill(record, fd, why);
  }

  // Connections that the engine had stopped at the gate and not yet told of.
  void open_gates(const KeptArena& arena) const {
    for (const ipc::SlotId id : open_slots(arena.memory)) {
      ipc::Slot& slot = slot_at(arena.memory, id);
      if (ipc::mode_of(slot.engine.mode_word.load()) == ipc::SlotMode::kInHost) continue;
      slot.engine.reason.store(static_cast<std::uint16_t>(chimney::Reason::kEngineDied));
      open_gate(arena.memory, id, ipc::SlotMode::kInHost, arena.eventfds);
    }
  }

 private:
  // The engine died inside park() and has taken nothing from the socket yet.
  Outcome let_go(const ipc::FlowRecord& record, int fd, std::string& why) {
    if (record.status.load() == ipc::FlowStatus::kSilenced)
      if (const auto released = host::release(fd, record.memo); !released)
        why = to_string(record.constant.tuple) + ": " + released.error().message;
    (void)steering_.remove(record.constant.tuple);
    reopen(record, why.empty() ? chimney::Reason::kEngineDied : chimney::Reason::kUnparkFailed);
    return why.empty() ? Outcome::kHome : Outcome::kLost;
  }

  void reopen(const ipc::FlowRecord& record, chimney::Reason reason) {
    if (slot_ == nullptr) return;
    slot_->engine.reason.store(static_cast<std::uint16_t>(reason));
    open_gate(arena_->memory, record.slot, ipc::SlotMode::kInHost, arena_->eventfds);
  }

  [[nodiscard]] bool rings_fit(const ipc::FlowRecord& record) const {
    const auto fits = [&](std::uint64_t offset, std::uint32_t size) {
      return std::has_single_bit(size) && offset <= arena_->memory.size() &&
             size <= arena_->memory.size() - offset;
    };
    return arena_ != nullptr && fits(record.rx_ring, record.rx_size) &&
           fits(record.tx_ring, record.tx_size);
  }

  // The application's last words: it may have shut down or closed without the engine noticing.
  void apply_flags(int fd, DelegatedState& delegated) const {
    if (slot_ == nullptr) return;
    const std::uint32_t flags = slot_->app.flags.load();
    if ((flags & ipc::slot_flag::kShutdownWrite) != 0 && !has_sent_fin(delegated.state))
      delegated.fin_pending = true;
    if ((flags & ipc::slot_flag::kAbort) != 0) {
      const linger abort{1, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    }
  }

  Outcome refill(ipc::FlowRecord& record, int fd, std::string& why) {
    const FourTuple tuple = record.constant.tuple;
    ConnectionState state = ipc::state_of(record, to_ms_ticks(engine::monotonic_now()));
    if (is_over(state.delegated.state) || needs_only_acks(state.delegated.state) ||
        !rings_fit(record)) {
      host::bury(fd);
      (void)steering_.remove(tuple);
      reopen(record, chimney::Reason::kEngineDied);
      return Outcome::kFinished;
    }
    if (slot_ != nullptr) close_gate(*slot_, ipc::SlotMode::kUploading, kGateLimit);
    StreamRange rx_range;
    StreamRange tx_range;
    const bool is_sane = read_ranges(record, slot_, rx_range, tx_range);
    apply_flags(fd, state.delegated);
    (void)steering_.set(tuple, steer::FlowSteering::kReturn, record.shard);
    std::byte* base = arena_->memory.data();
    const auto unparked =
        host::unpark(fd, state, record.memo, {base + record.rx_ring, record.rx_size}, rx_range,
                     {base + record.tx_ring, record.tx_size}, tx_range);
    (void)steering_.remove(tuple);
    if (!unparked) {
      why = to_string(tuple) + ": " + unparked.error().message;
      host::bury(fd);
      reopen(record, chimney::Reason::kUnparkFailed);
      return Outcome::kLost;
    }
    if (unparked->needs_forged_segment && !forge(state))
      why = to_string(tuple) + ": the host could not be told again what the peer had closed";
    reopen(record, is_sane ? chimney::Reason::kEngineDied : chimney::Reason::kHostile);
    return Outcome::kHome;
  }

  [[nodiscard]] bool forge(const ConnectionState& state) const {
    std::array<std::byte, 256> frame{};
    const std::size_t length = host::make_forged_segment(state, frame);
    return reinjector_ && reinjector_->give(state.constant.ifindex, std::span(frame).first(length));
  }

  Kept& kept_;
  ipc::FlowRecord* records_;
  steer::Steering& steering_;
  std::optional<Reinjector> reinjector_;
  KeptArena* arena_ = nullptr;
  ipc::Slot* slot_ = nullptr;
};

}  // namespace

KeptArena::KeptArena(ipc::SharedMemory mapped)
    : memory(std::move(mapped)), eventfds(ipc::kWaitSets) {
  for (auto& fd : eventfds)
    fd.store(-1, std::memory_order_relaxed);
}

KeptArena::~KeptArena() {
  for (auto& fd : eventfds)
    UniqueFd(fd.load(std::memory_order_relaxed)).reset();
}

RecoveryReport bring_all_home(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering,
                              const std::function<void(const std::string&)>& note) {
  RecoveryReport report;
  Homecoming homecoming(kept, records, steering);
  for (auto& [id, socket] : kept.sockets) {
    std::string why;
    switch (homecoming.bring(id, socket.get(), why)) {
      case Homecoming::Outcome::kHome:
        ++report.home;
        break;
      case Homecoming::Outcome::kFinished:
        ++report.finished;
        break;
      case Homecoming::Outcome::kLost:
        ++report.lost;
        break;
    }
    if (!why.empty()) note(why);
    records[id].status.store(ipc::FlowStatus::kFree);
  }
  for (const auto& [number, arena] : kept.arenas)
    homecoming.open_gates(*arena);
  kept.sockets.clear();
  kept.arenas.clear();
  return report;
}

}  // namespace snp::daemon
