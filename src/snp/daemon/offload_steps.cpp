// Host to target: what is examined and done, in order, until the shard has the connection.
#include <algorithm>
#include <bit>
#include <cstddef>

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <spdlog/spdlog.h>

#include "snp/daemon/congestion_choice.h"
#include "snp/daemon/offloader.h"
#include "snp/daemon/record_journal.h"
#include "snp/daemon/ring_sizes.h"
#include "snp/engine/clock.h"
#include "snp/host/congestion_default.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Input;
using chimney::Reason;
using settings::Setting;

// The window that the host has promised to the peer: the ring must take it, a window is never
// shrunk (RFC 9293 3.8.6). tcpi_rcv_wnd, after tcpi_snd_wnd since Linux 6.2; else 0.
struct Promise {
  std::uint32_t window = 0;
  std::uint32_t rtt_us = 0;  // 0: not measured
};

Promise read_promise(int fd) {
  constexpr std::size_t kOffset = offsetof(tcp_info, tcpi_snd_wnd) + sizeof(std::uint32_t);
  std::array<std::byte, 512> info{};
  socklen_t length = info.size();
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.data(), &length) != 0 ||
      length < kOffset + sizeof(std::uint32_t))
    return {};
  Promise promise;
  std::memcpy(&promise.window, info.data() + kOffset, sizeof promise.window);
  std::memcpy(&promise.rtt_us, info.data() + offsetof(tcp_info, tcpi_rtt), sizeof promise.rtt_us);
  return promise;
}

// How much the rings must take. Exact for sending once the gate is closed; what the peer may still
// send is within the promised window.
struct Queues {
  std::uint64_t unread = 0, unacked = 0;
  std::uint32_t rtt_us = 0;
};

Queues measure_queues(int fd) {
  int unread = 0;
  int unacked = 0;
  ::ioctl(fd, SIOCINQ, &unread);
  ::ioctl(fd, SIOCOUTQ, &unacked);
  const Promise promise = read_promise(fd);
  return {static_cast<std::uint64_t>(unread) + promise.window, static_cast<std::uint64_t>(unacked),
          promise.rtt_us};
}

}  // namespace

Reason Offloader::examine(Program& program, ipc::SlotId slot_id, Flow& flow,
                          host::SocketSurvey& survey) {
  if (is_stopping_) return Reason::kStopping;
  if (program.has_ended) return Reason::kState;
  const ipc::Slot& slot = program.slot(slot_id);
  if (const auto asked = reason_to_stay(slot)) return *asked;
  if ((slot.app.flags.load() & ipc::slot_flag::kClosed) != 0) return Reason::kState;
  flow.in_use = slot.app.in_use.load();
  flow.socket = program.take_socket(slot_id);
  const bool is_same = is_allocated(flow.in_use) && slot.app.in_use.load() == flow.in_use;
  if (!flow.socket.is_open()) return is_same ? Reason::kNotTcp : Reason::kState;  // closed
  const auto surveyed = host::survey(flow.socket.get());
  if (!surveyed) return Reason::kNotTcp;
  survey = *surveyed;
  flow.tuple = survey.tuple;
  flow.cookie = survey.cookie;
  flow.bound_ifindex = survey.bound_ifindex;
  if (survey.reason != Reason::kOffloaded) return survey.reason;
  // The same socket under two slots: of a parent and its child, or of a hostile process.
  if (cookies_.contains(survey.cookie)) return Reason::kSharedDescriptor;
  return Reason::kOffloaded;
}

Reason Offloader::find_way(Flow& flow) {
  auto path = env_.network.find_path(flow.tuple, flow.bound_ifindex);
  if (!path) return path.error().code == Errc::kBusy ? Reason::kNoNeighbour : Reason::kNoRoute;
  flow.path = *path;
  if (path->is_loopback) return find_peer(flow.tuple);
  if (!env_.devices.contains(path->ifindex)) return Reason::kNoDevice;
  return Reason::kOffloaded;
}

// Pre: the gate is closed. Until then the application may have closed the connection, or have given
// it to the host for good: it sets its word and then looks at the gate, we the other way round.
Reason Offloader::look_again(const ipc::Slot& slot, const Flow& flow) {
  if (slot.app.in_use.load() != flow.in_use) return Reason::kState;
  const bool must_stay = (slot.app.flags.load() & ipc::slot_flag::kStayInHost) != 0;
  return must_stay ? Reason::kSharedDescriptor : Reason::kOffloaded;
}

// Pre: the gate is closed. From here on the record names what the flow has.
Reason Offloader::take_rings(Flow& flow) {
  const Queues queues = measure_queues(flow.socket.get());
  ipc::FlowRecord& record = env_.records[flow.id];
  RingAllocator& rings = flow.program->rings;
  std::uint32_t rtt_us = queues.rtt_us;
  if (rtt_us == 0) rtt_us = flow.program->note(flow.slot).path.srtt_us();
  const RingSizes sizes{static_cast<std::uint64_t>(env_.settings.number(Setting::kRingBytes)),
                        static_cast<std::uint64_t>(env_.settings.number(Setting::kRingMaxBytes)),
                        rings.free_bytes(), rings.bytes()};
  record.rx_size = ring_size(queues.unread, flow.treatment.rx_ring, rtt_us, sizes);
  record.tx_size = ring_size(queues.unacked, flow.treatment.tx_ring, rtt_us, sizes);
  if (queues.unacked > record.tx_size) return Reason::kQueuesTooLarge;
  const auto rx = rings.allocate(record.rx_size);
  if (!rx) return Reason::kArenaFull;
  const auto tx = rings.allocate(record.tx_size);
  if (!tx) {
    rings.free(*rx);
    return Reason::kArenaFull;
  }
  record.arena = flow.program->number;
  record.slot = flow.slot;
  record.shard = flow.shard;
  record.rx_ring = *rx;
  record.tx_ring = *tx;
  record.constant.tuple = flow.tuple;
  record.status.store(ipc::FlowStatus::kParking);
  return Reason::kOffloaded;
}

Reason Offloader::explain_park(const Flow& flow, const Error& error) {
  spdlog::debug("{}: cannot park: {}", to_string(flow.tuple), error.message);
  // It was over, or began to be, while we were at it: no failure of anybody's.
  const auto seen = host::survey(flow.socket.get());
  if (seen && seen->reason == Reason::kState) return Reason::kState;
  if (error.code == Errc::kBusy) return Reason::kOutOfOrder;
  if (error.code == Errc::kFull) return Reason::kBusy;  // they have grown meanwhile
  return Reason::kParkFailed;
}

// What the switch reads in the slot once the gate opens. Before initiate(): from then on the shard
// moves these words.
void Offloader::publish(const Flow& flow) {
  ipc::Slot& slot = flow.program->slot(flow.slot);
  const ipc::FlowRecord& record = env_.records[flow.id];
  slot.engine.rx_ring = record.rx_ring;
  slot.engine.tx_ring = record.tx_ring;
  slot.engine.rx_size = record.rx_size;
  slot.engine.tx_size = record.tx_size;
  slot.buffers.rx_limit.store(0);
  slot.buffers.tx_limit.store(0);
  slot.engine.rx_head.store(handoff_.rx_range.end);
  slot.engine.tx_tail.store(handoff_.tx_range.begin);
  slot.engine.shard.store(static_cast<std::uint8_t>(flow.shard));
  slot.engine.pair = ipc::kNoPair;
}

std::optional<Input> Offloader::hold(Flow& flow) {
  if (flow.lifecycle.state() == chimney::OffloadState::kUploading) {
    (void)steer(flow, steer::FlowSteering::kHold);
    return std::nullopt;
  }
  // It may have come home a moment ago: what comes from now on is not given back any more.
  env_.engine.expect(flow.id, flow.tuple, flow.shard);
  if (env_.keeper.tell(KeeperNews::kSocket, flow.id, 0, flow.socket.get()) && take_frames(flow))
    return std::nullopt;
  flow.reason = Reason::kHandoverFailed;
  return Input::kParkFailed;
}

// Its frames go to the shard alone. When that is still giving some to the host it stops: what it
// has not given comes before what it will get, and would come behind it once it had been turned
// round.
bool Offloader::take_frames(Flow& flow) {
  if (followers_.fetch(flow.tuple) != flow.shard)
    return steer(flow, steer::FlowSteering::kShadow) && steer(flow, steer::FlowSteering::kHold);
  env_.engine.recall(flow.id);
  env_.steering.recall(flow.account);
  return steer(flow, steer::FlowSteering::kHold).has_value();
}

// Pre: the gate is closed, steering is in hold.
Reason Offloader::park(Flow& flow) {
  ipc::FlowRecord& record = env_.records[flow.id];
  std::byte* base = flow.program->arena->memory.data();
  ipc::Slot& slot = flow.program->slot(flow.slot);
  handoff_ = {};
  handoff_.id = flow.id;
  // A size that a rule says is used as it is.
  const bool is_said = flow.treatment.rx_ring != 0 || flow.treatment.tx_ring != 0;
  if (!is_said)
    handoff_.buffer_bytes = static_cast<std::uint32_t>(env_.settings.number(Setting::kRingBytes));
  handoff_.rx = {base + record.rx_ring, record.rx_size};
  handoff_.tx = {base + record.tx_ring, record.tx_size};
  const std::uint64_t tx_head = slot.app.tx_head.load();
  const std::uint64_t rx_tail = slot.app.rx_tail.load();
  // The queues take positions below tx_head and above rx_tail: leave room for them.
  constexpr std::uint64_t kRoom = 1ull << 32;
  if (tx_head < kRoom || rx_tail < kRoom || tx_head > ~0ull - kRoom || rx_tail > ~0ull - kRoom)
    return Reason::kHostile;
  RecordJournal journal(record, flow.path, flow.id, env_.accounts, slot, flow.in_use);
  auto parked = host::park(flow.socket.get(), handoff_.rx, rx_tail, handoff_.tx, tx_head, &journal);
  if (!parked) {
    record.status.store(ipc::FlowStatus::kParking);
    note_failed_park(flow);
    return explain_park(flow, parked.error());
  }
  handoff_.state = parked->state;
  note_keepalive(slot, record.memo);
  const std::string& of_rule = flow.treatment.congestion_control;
  choose_congestion_control(
      of_rule.empty() ? env_.settings.text(Setting::kCongestionControl) : of_rule,
      host::default_congestion_control(), handoff_.state.cached);
  SlotNote& note = flow.program->note(flow.slot);
  const Instant now = engine::monotonic_now();
  note.path.learn(handoff_.state, now);
  note.path.tell(handoff_.state, now);
  note.running_timeout.tell(handoff_.state.delegated, now);
  handoff_.rx_range = parked->rx_range;
  handoff_.tx_range = parked->tx_range;
  complete(handoff_.state, flow.path);
  offloads_.queued_bytes += handoff_.rx_range.length() + handoff_.tx_range.length();
  return Reason::kOffloaded;
}

// A number, and a place in the books, before anything is done.
Flow& Offloader::enrol(std::unique_ptr<Flow> owned) {
  Flow& flow = *owned;
  flow.id = free_ids_.back();
  free_ids_.pop_back();
  env_.records[flow.id].status.store(ipc::FlowStatus::kFree);  // whatever a dead engine left
  env_.records[flow.id].place = {};
  const auto shards = static_cast<std::uint32_t>(env_.settings.number(Setting::kShards));
  flow.is_bound = flow.treatment.shard.has_value();
  flow.shard = flow.is_bound ? *flow.treatment.shard % shards : env_.scaling.shard_of(flow.tuple);
  open_account(flow);
  env_.records[flow.id].account = flow.account;
  return enter(std::move(owned));
}

Flow& Offloader::enter(std::unique_ptr<Flow> owned) {
  Flow& flow = *owned;
  Program& program = *flow.program;
  ++program.flows;
  ++program.hand_overs_on;
  programs_[program.number] = &program;
  cookies_.insert(flow.cookie);
  SlotNote& note = program.note(flow.slot);
  note.flow = flow.id;
  note.tuple = flow.tuple;
  flows_.emplace(flow.id, std::move(owned));
  if (!flow.is_local) env_.presence.keep();
  return flow;
}

std::optional<Reason> Offloader::start_offload(Program& program, ipc::SlotId slot_id,
                                               const Done& done) {
  env_.coexistence.look_where_blind();
  auto owned = std::make_unique<Flow>();
  owned->program = &program;
  owned->slot = slot_id;
  const chimney::Verdict verdict = judge(program, slot_id, *owned, done != nullptr);
  if (!verdict.is_yes()) decline_detail_ = verdict.detail;
  if (!verdict.is_yes()) return verdict.reason;
  owned->is_commanded = done != nullptr;
  // Before anything is done: meanwhile the connection goes on as it is.
  switch (ask_clients(*owned)) {
    case EventDesk::Permission::kGranted:
      break;
    case EventDesk::Permission::kAsked:
      asked_ = program.note(slot_id).question;
      return std::nullopt;
    case EventDesk::Permission::kRefused:
      decline_detail_ = env_.events.refusal(program.note(slot_id).question).value_or("");
      return Reason::kVetoed;
  }
  if (verdict.rule != nullptr) owned->treatment = verdict.rule->treatment;
  prepare_stay(*owned, verdict, done != nullptr);
  if (owned->path.is_loopback) return start_local(std::move(owned), done);
  // Before the gate closes: the connection is not quiet meanwhile.
  switch (env_.presence.want(owned->path.ifindex)) {
    case Presence::Answer::kHere:
      break;
    case Presence::Answer::kComing:
      return std::nullopt;
    case Presence::Answer::kFailed:
      return Reason::kNoSteering;
  }

  owned->quiet_since = engine::monotonic_now();
  const ipc::FlowId id = enrol(std::move(owned)).id;
  drive(*find(id), Input::kOffloadRequested);
  if (Flow* flow = find(id); flow != nullptr) {
    if (done) flow->waiting.push_back(done);
    return Reason::kOffloaded;
  }
  hand_over_ended(program);
  return freed_for_;
}

}  // namespace snp::daemon
