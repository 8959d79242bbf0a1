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

#include "snp/daemon/offloader.h"
#include "snp/daemon/record_journal.h"
#include "snp/engine/clock.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Reason;
using settings::Setting;

constexpr Duration kGateLimit = milliseconds(2);

// The window that the host has promised to the peer: the ring must take it, a window is never
// shrunk (RFC 9293 3.8.6). tcpi_rcv_wnd, after tcpi_snd_wnd since Linux 6.2; else 0.
std::uint32_t promised_window(int fd) {
  constexpr std::size_t kOffset = offsetof(tcp_info, tcpi_snd_wnd) + sizeof(std::uint32_t);
  std::array<std::byte, 512> info{};
  socklen_t length = info.size();
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.data(), &length) != 0 ||
      length < kOffset + sizeof(std::uint32_t))
    return 0;
  std::uint32_t window = 0;
  std::memcpy(&window, info.data() + kOffset, sizeof window);
  return window;
}

// How much the rings must take. Exact for sending once the gate is closed; what the peer may still
// send is within the promised window.
struct Queues {
  std::uint64_t unread = 0, unacked = 0;
};

Queues measure_queues(int fd) {
  int unread = 0;
  int unacked = 0;
  ::ioctl(fd, SIOCINQ, &unread);
  ::ioctl(fd, SIOCOUTQ, &unacked);
  return {static_cast<std::uint64_t>(unread) + promised_window(fd),
          static_cast<std::uint64_t>(unacked)};
}

std::uint32_t bound_ring(std::uint64_t needed, const settings::Settings& settings) {
  const auto least = static_cast<std::uint64_t>(settings.number(Setting::kRingBytes));
  const auto most = static_cast<std::uint64_t>(settings.number(Setting::kRingMaxBytes));
  const std::uint64_t size = std::bit_ceil(std::max(needed, least));
  return static_cast<std::uint32_t>(std::min(size, std::max(std::bit_floor(most), least)));
}

}  // namespace

Reason Offloader::examine(Program& program, ipc::SlotId slot_id, Flow& flow,
                          host::SocketSurvey& survey) {
  if (is_stopping_) return Reason::kStopping;
  if (env_.settings.text(Setting::kChimney) == "disabled") return Reason::kChimneyDisabled;
  if (program.has_ended) return Reason::kState;
  const ipc::Slot& slot = program.slot(slot_id);
  const std::uint32_t flags = slot.app.flags.load();
  if ((flags & ipc::slot_flag::kStayInHost) != 0) {
    const auto asked = static_cast<Reason>(slot.app.request_reason.load());
    return asked == Reason::kOffloaded ? Reason::kUnsupportedCall : asked;
  }
  if ((flags & ipc::slot_flag::kClosed) != 0) return Reason::kState;
  flow.in_use = slot.app.in_use.load();
  flow.socket = program.take_socket(slot_id);
  if (!flow.socket.is_open()) return Reason::kNotTcp;
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
  if (path->is_loopback) return Reason::kLoopback;
  if (!env_.devices.contains(path->ifindex)) return Reason::kNoDevice;
  flow.path = *path;
  return Reason::kOffloaded;
}

// Pre: the gate is closed. Until then the application may have closed the connection, or have given
// it to the host for good: it sets its word and then looks at the gate, we the other way round.
Reason Offloader::look_again(const ipc::Slot& slot, const Flow& flow) {
  if (slot.app.in_use.load() != flow.in_use) return Reason::kState;
  const bool must_stay = (slot.app.flags.load() & ipc::slot_flag::kStayInHost) != 0;
  return must_stay ? Reason::kSharedDescriptor : Reason::kOffloaded;
}

// Pre: the gate is closed.
Reason Offloader::take_rings(Program& program, int socket, Rings& rings) {
  const Queues queues = measure_queues(socket);
  rings.rx_size = bound_ring(queues.unread, env_.settings);
  rings.tx_size = bound_ring(queues.unacked, env_.settings);
  if (queues.unacked > rings.tx_size) return Reason::kQueuesTooLarge;
  const auto rx = program.rings.allocate(rings.rx_size);
  if (!rx) return Reason::kArenaFull;
  const auto tx = program.rings.allocate(rings.tx_size);
  if (!tx) {
    program.rings.free(*rx);
    return Reason::kArenaFull;
  }
  rings.rx = *rx;
  rings.tx = *tx;
  return Reason::kOffloaded;
}

void Offloader::fill_record(const Flow& flow, const Rings& rings) {
  ipc::FlowRecord& record = env_.records[flow.id];
  record.arena = flow.program->number;
  record.slot = flow.slot;
  record.shard = flow.shard;
  record.rx_ring = rings.rx;
  record.tx_ring = rings.tx;
  record.rx_size = rings.rx_size;
  record.tx_size = rings.tx_size;
  record.constant.tuple = flow.tuple;
  record.status.store(ipc::FlowStatus::kParking);
}

Reason Offloader::explain_park(const Flow& flow, const Error& error) {
  spdlog::debug("{}: cannot park: {}", to_string(flow.tuple), error.message);
  if (error.code == Errc::kBusy) return Reason::kOutOfOrder;
  if (error.code == Errc::kFull) return Reason::kBusy;  // they have grown meanwhile
  return Reason::kParkFailed;
}

// What the switch reads in the slot once the gate opens. Before initiate(): from then on the shard
// moves these words.
void Offloader::publish(const Flow& flow, const chimney::Handoff& handoff) {
  ipc::Slot& slot = flow.program->slot(flow.slot);
  const ipc::FlowRecord& record = env_.records[flow.id];
  slot.engine.rx_ring = record.rx_ring;
  slot.engine.tx_ring = record.tx_ring;
  slot.engine.rx_size = record.rx_size;
  slot.engine.tx_size = record.tx_size;
  slot.engine.rx_head.store(handoff.rx_range.end);
  slot.engine.tx_tail.store(handoff.tx_range.begin);
  slot.engine.shard.store(static_cast<std::uint8_t>(flow.shard));
}

// Pre: the gate is closed, steering is in hold. Undoes nothing: the caller does.
Reason Offloader::park_and_initiate(Flow& flow, const Rings& rings) {
  std::byte* base = flow.program->arena->memory.data();
  const ipc::Slot& slot = flow.program->slot(flow.slot);
  chimney::Handoff handoff;
  handoff.id = flow.id;
  handoff.rx = {base + rings.rx, rings.rx_size};
  handoff.tx = {base + rings.tx, rings.tx_size};
  const std::uint64_t tx_head = slot.app.tx_head.load();
  const std::uint64_t rx_tail = slot.app.rx_tail.load();
  // The queues take positions below tx_head and above rx_tail: leave room for them.
  constexpr std::uint64_t kRoom = 1ull << 32;
  if (tx_head < kRoom || rx_tail < kRoom || tx_head > ~0ull - kRoom || rx_tail > ~0ull - kRoom)
    return Reason::kHostile;
  ipc::FlowRecord& record = env_.records[flow.id];
  RecordJournal journal(record, flow.path);
  auto parked = host::park(flow.socket.get(), handoff.rx, rx_tail, handoff.tx, tx_head, &journal);
  if (!parked) {
    record.status.store(ipc::FlowStatus::kParking);
    return explain_park(flow, parked.error());
  }
  handoff.state = parked->state;
  RoundTrip& round_trip = flow.program->note(flow.slot).round_trip;
  round_trip.learn(handoff.state.delegated);
  round_trip.tell(handoff.state.delegated);
  handoff.rx_range = parked->rx_range;
  handoff.tx_range = parked->tx_range;
  complete(handoff.state, flow.path);
  flow.first_una = handoff.tx_range.begin;
  flow.first_rcv = handoff.rx_range.end;
  offloads_.queued_bytes += handoff.rx_range.length() + handoff.tx_range.length();
  publish(flow, handoff);
  env_.engine.initiate(handoff);
  return Reason::kOffloaded;
}

Reason Offloader::start_offload(Program& program, ipc::SlotId slot_id, const Done& done) {
  auto owned = std::make_unique<Flow>();
  Flow& flow = *owned;
  flow.program = &program;
  flow.slot = slot_id;
  host::SocketSurvey survey;
  if (const Reason reason = examine(program, slot_id, flow, survey); reason != Reason::kOffloaded)
    return reason;
  if (const Reason reason = find_way(flow); reason != Reason::kOffloaded) return reason;
  const auto most = std::min<std::size_t>(
      env_.max_connections,
      static_cast<std::size_t>(env_.settings.number(Setting::kMaxConnections)));
  if (free_ids_.empty() || flows_.size() >= most) return Reason::kTargetFull;

  flow.quiet_since = engine::monotonic_now();
  Rings rings;
  ipc::Slot& slot = program.slot(slot_id);
  Reason reason = close_gate(slot, ipc::SlotMode::kOffloading, kGateLimit) ? look_again(slot, flow)
                                                                           : Reason::kBusy;
  if (reason == Reason::kOffloaded) reason = take_rings(program, flow.socket.get(), rings);
  if (reason != Reason::kOffloaded) {
    // Also when the slot is another connection's by now: it waits at the gate that we closed.
    slot.engine.reason.store(static_cast<std::uint16_t>(reason));
    ipc::set_mode(slot, ipc::SlotMode::kInHost);
    env_.engine.notify(*program.arena, slot_id);
    return reason;
  }
  flow.id = free_ids_.back();
  free_ids_.pop_back();
  flow.shard = flow.id % static_cast<std::uint32_t>(env_.settings.number(Setting::kShards));
  ++program.flows;
  ++program.hand_overs_on;
  programs_[program.number] = &program;
  cookies_.insert(flow.cookie);
  SlotNote& note = program.note(slot_id);
  note.flow = flow.id;
  note.tuple = flow.tuple;
  flows_.emplace(flow.id, std::move(owned));
  fill_record(flow, rings);

  reason = Reason::kHandoverFailed;
  if (env_.keeper.tell(KeeperNews::kSocket, flow.id, 0, flow.socket.get()) &&
      env_.steering.set(flow.tuple, steer::FlowSteering::kShadow, flow.shard) &&
      env_.steering.set(flow.tuple, steer::FlowSteering::kHold, flow.shard))
    reason = park_and_initiate(flow, rings);
  if (reason == Reason::kOffloaded) {
    if (done) flow.waiting.push_back(done);
    return reason;
  }
  (void)env_.steering.remove(flow.tuple);
  env_.engine.release_frames(flow.id, flow.tuple, {});
  set_slot_mode(flow, ipc::SlotMode::kInHost, reason);
  drop_flow(flow);
  hand_over_ended(program);
  return reason;
}

}  // namespace snp::daemon
