// What the control thread asks of a shard: connections come and go, processes attach and detach.
#include <algorithm>
#include <utility>

#include "snp/base/assert.h"
#include "snp/engine/shard.h"
#include "snp/wire/frame.h"

namespace snp::engine {
namespace {

// RFC 9293 3.3.2: what the host can be told to be in. The rest the target finishes, but for a
// TIME_WAIT that a new connection of the same peer ends.
bool can_go_home(const Flow& flow) noexcept {
  const TcpState state = flow.connection->state();
  if (state == TcpState::kTimeWait) return flow.connection->leaves_to_host();
  return flow.slot != nullptr && (state == TcpState::kEstablished || state == TcpState::kFinWait1 ||
                                  state == TcpState::kFinWait2 || state == TcpState::kCloseWait);
}

// Bursts that are taken from the devices before frames are given back: more than a queue holds.
constexpr int kMaxDrainRounds = 256;

// A copy of what the host had already processed when it was parked: without text that is new, an
// acknowledgement that is new, or another window.
bool is_stale(const Segment& segment, const ConnectionState& start) noexcept {
  const DelegatedState& state = start.delegated;
  if (segment.has(TcpFlags::kRst | TcpFlags::kSyn)) return false;
  const std::uint32_t window = std::uint32_t{segment.seg_wnd} << start.constant.snd_wind_shift;
  return segment.seg_seq + segment.seg_len() <= state.rcv_nxt && segment.seg_ack <= state.snd_una &&
         (segment.seg_len() != 0 || segment.seg_seq < state.rcv_nxt || window == state.snd_wnd);
}

void follow_path(Flow& flow, const CachedState& path) noexcept {
  flow.cached.local_mac = path.local_mac;
  flow.cached.next_hop_mac = path.next_hop_mac;
  flow.cached.path_mtu = path.path_mtu;
}

}  // namespace

std::size_t Shard::read_mail(Instant now) noexcept {
  std::size_t count = 0;
  for (MailNode* node = inbox_.take_all(); node != nullptr; ++count) {
    auto& mail = static_cast<Mail&>(*node);
    node = node->next;
    handle(mail, now);
  }
  return count;
}

void Shard::handle(Mail& mail, Instant now) noexcept {
  switch (mail.kind) {
    case MailKind::kAttach:
      arenas_.push_back(mail.arena);
      marked_arenas_.reserve(arenas_.size());  // a turn allocates nothing
      return answer(mail, MailKind::kDone);
    case MailKind::kDetach:
      detach(*mail.arena, now);
      return answer(mail, MailKind::kDetached);
    case MailKind::kInitiate:
      initiate(mail, now);
      return answer(mail, MailKind::kInitiated);
    case MailKind::kTerminate:
      if (!wait_for_gap(mail, now)) terminate(mail, now);
      return;
    case MailKind::kUpdate:
      if (const auto found = by_id_.find(mail.id); found != by_id_.end()) {
        follow_path(*found->second, mail.handoff.state.cached);
        rebuild(*found->second, now);
      }
      return answer(mail, MailKind::kDone);
    case MailKind::kReleaseFrames:
      release_frames(mail, now);
      return answer(mail, MailKind::kDone);
    case MailKind::kUntap:
      finish_copies(now);
      ports_[port_of(mail.handoff.state.constant.ifindex)].queue->untap();
      mail.is_done->count_down();
      return answer(mail, MailKind::kDone);
    case MailKind::kExpect:
      released_.erase(mail.handoff.state.constant.tuple);
      passed_on_.erase(mail.handoff.state.constant.tuple);
      return answer(mail, MailKind::kExpected);
    case MailKind::kMoveOut:
      return move_out(mail, now);
    case MailKind::kMoveIn:
      return move_in(mail, now);
    case MailKind::kPassOn:
      pass_on_held(mail, now);
      return answer(mail, MailKind::kDone);
    case MailKind::kFrame:
      finish_copies(now);  // before what comes later, whose memory nobody keeps
      may_start_copies_ = false;
      on_frame({mail.frame.bytes, mail.frame.checksum, mail.frame.gso_size}, mail.frame.port, now);
      may_start_copies_ = true;
      return answer(mail, MailKind::kDone);
    case MailKind::kCopies:
      configure_copies(mail.copies);
      return answer(mail, MailKind::kDone);
    default:
      SNP_ASSERT(false);
  }
}

// The cached state changed: new headers, new options.
void Shard::rebuild(Flow& flow, Instant now) noexcept {
  flow.record->cached = flow.cached;
  flow.headers = HeaderTemplate({flow.cached.local_mac, flow.cached.next_hop_mac, flow.tuple,
                                 flow.cached.ttl, flow.cached.tos, flow.cached.flow_label});
  flow.connection->update(flow.cached, now);
  touch(flow);
}

void Shard::initiate(Mail& mail, Instant now) noexcept {
  Flow& flow = *mail.flow;
  const chimney::Handoff& handoff = mail.handoff;
  const ConnectionState& state = handoff.state;
  flow.id = handoff.id;
  flow.record = &records_[handoff.id];
  flow.tuple = state.constant.tuple;
  flow.cached = state.cached;
  flow.is_hostile = flow.is_write_notified = flow.is_upload_requested = false;
  flow.status = 0;
  flow.snd_max = state.delegated.snd_max;
  flow.slot_id = flow.record->slot;
  flow.slot = &mail.arena->slot(flow.slot_id);
  flow.options_generation = flow.slot->app.options_generation.load(std::memory_order_acquire);
  flow.accepted = {0, handoff.tx_range.end, handoff.rx_range.begin};
  flow.rx_head = handoff.rx_range.end;
  flow.info_at = now - kInfoInterval;
  flow.has_filled_pages = handoff.rx_range.length() != 0;
  flow.has_written_pages = handoff.tx_range.length() != 0;
  flow.rx_limit = flow.tx_limit = flow.rx_most = flow.tx_most = 0;
  flow.rx_kept = handoff.rx_range.begin;
  flow.tx_kept = handoff.tx_range.begin;

  const std::uint32_t port = port_of(state.constant.ifindex);
  tcp::Limits limits;
  limits.time_wait = config_.time_wait;
  limits.receive_buffer = limits.send_buffer = handoff.buffer_bytes;
  limits.max_segment_payload =
      std::min(ports_[port].caps.max_frame_payload, HeaderTemplate::kMaxPayload);
  flow.connection.emplace(
      state, tcp::Streams{handoff.tx, handoff.tx_range, handoff.rx, handoff.rx_range}, limits, now);
  begin_life(flow, now);
  flow.known_state = TcpState::kClosed;
  stats_.add(M::kConnectionsInitiated);
  enter(flow, *mail.arena, now);
  held_.take(flow.tuple, [&](const device::RxFrame& frame, std::uint32_t /*port*/) {
    ParsedFrame parsed;
    if (parse_frame(frame.bytes, frame.gso_size, parsed) != FrameVerdict::kTcp) return;
    if (is_stale(parsed.segment, state)) return stats_.add(M::kFramesHeldStale);
    take_held(flow, frame, parsed.segment, now);
  });
  // Of a connection that is resumed the gate stands open: what its application did since.
  read_slot(flow, now);
}

// From here on it is this shard's.
void Shard::enter(Flow& flow, ShardArena& arena, Instant now) noexcept {
  flow.arena = &arena;
  flow.device = port_of(flow.record->constant.ifindex);
  flow.path = &path(flow.device, flow.tuple);
  flow.account = &account(flow.record->account);
  // A turn allocates nothing.
  if (with_pages_.capacity() <= by_id_.size()) with_pages_.reserve(2 * by_id_.size() + 64);
  if (flow.has_filled_pages || flow.has_written_pages) note_pages(flow);
  note_state(flow);
  rebuild(flow, now);
  arena.bind(flow.slot_id, &flow);
  flows_[flow.tuple] = &flow;
  by_id_[flow.id] = &flow;
  stats_.set(M::kConnections, by_id_.size());
  released_.erase(flow.tuple);
  passed_on_.erase(flow.tuple);
}

void Shard::take_held(Flow& flow, const device::RxFrame& frame, const Segment& segment,
                      Instant now) noexcept {
  flow.path->add(P::kFramesIn);
  stats_.add(M::kSegmentsIn, segments_in(segment.payload.size(), frame.gso_size));
  flow.connection->on_segment(segment, now);
}

// What waits behind a gap would be dropped. What follows urgent data waits for the host, and no gap
// is filled any more.
bool Shard::wait_for_gap(Mail& mail, Instant now) noexcept {
  const auto found = by_id_.find(mail.id);
  if (mail.patience == Duration::zero() || found == by_id_.end()) return false;
  const tcp::Connection& connection = *found->second->connection;
  if (!connection.has_gap() || connection.leaves_to_host()) return false;
  leaving_.push_back({&mail, now + mail.patience});
  return true;
}

void Shard::see_off(Instant now) noexcept {
  std::erase_if(leaving_, [&](const Leaving& leaving) {
    Mail& mail = *leaving.mail;
    const auto found = by_id_.find(mail.id);
    const bool must_wait =
        found != by_id_.end() && now < leaving.until && found->second->connection->has_gap();
    if (!must_wait) terminate(mail, now);
    return !must_wait;
  });
}

void Shard::terminate(Mail& mail, Instant now) noexcept {
  const auto found = by_id_.find(mail.id);
  if (found == by_id_.end()) return answer(mail, MailKind::kDone);  // finished() is on its way
  Flow& flow = *found->second;
  if (!flow.ahead.is_empty()) finish_copies(now);
  if (flow.slot != nullptr) read_slot(flow, now);
  tcp::Connection& connection = *flow.connection;
  if (!can_go_home(flow)) {
    mail.handoff.state.delegated.state = connection.state();
    return answer(mail, MailKind::kRefused);
  }
  hand_out(mail, flow, now);
  stats_.add(M::kConnectionsTerminated);
  answer(mail, MailKind::kTerminated);
}

// What the shard has of the flow, as a hand-off; it has nothing of it any more.
void Shard::hand_out(Mail& mail, Flow& flow, Instant now) noexcept {
  tcp::Connection& connection = *flow.connection;
  connection.freeze(now);
  commit(flow, now);
  send_segments(flow, now);
  commit(flow, now);
  publish_info(flow, now);
  const tcp::Streams& streams = connection.streams();
  mail.handoff = {flow.id,          connection.export_state(now),
                  streams.rx,       streams.tx,
                  streams.rx_range, streams.tx_range};
  mail.flow = &flow;
  if (flow.slot != nullptr) flow.arena->bind(flow.slot_id, nullptr);
  forget(flow);
}

void Shard::move_out(Mail& mail, Instant now) noexcept {
  // What came before steering changed is processed here, so before what the new shard holds.
  drain_devices(now);
  const auto found = by_id_.find(mail.id);
  if (found == by_id_.end()) return answer(mail, MailKind::kDone);  // finished() is on its way
  Flow& flow = *found->second;
  if (flow.slot != nullptr) read_slot(flow, now);
  if (flow.slot == nullptr || flow.is_hostile || !can_go_home(flow)) {
    mail.handoff.state.delegated.state = flow.connection->state();
    return answer(mail, MailKind::kRefused);
  }
  flow.left_at = now;
  flow.arena->bind(flow.slot_id, nullptr);
  forget(flow);
  passed_on_[flow.tuple] = {now + config_.release_time, mail.shard};
  next_expiry_ = std::min(next_expiry_, now + config_.release_time);
  stats_.add(M::kConnectionsMoved);
  answer(mail, MailKind::kMovedOut);
}

// The connection as it was, between two packets: nothing of it is dropped or begins anew.
void Shard::move_in(Mail& mail, Instant now) noexcept {
  Flow& flow = *mail.flow;
  // This turn began before the other shard's last: the connection's time must not go back.
  if (now < flow.left_at) {
    inbox_.post(mail);
    return;
  }
  follow_path(flow, mail.handoff.state.cached);
  enter(flow, *mail.arena, now);
  held_.take(flow.tuple, [&](const device::RxFrame& frame, std::uint32_t /*port*/) {
    ParsedFrame parsed;
    if (parse_frame(frame.bytes, frame.gso_size, parsed) == FrameVerdict::kTcp)
      take_held(flow, frame, parsed.segment, now);
  });
  read_slot(flow, now);
  answer(mail, MailKind::kInitiated);
}

void Shard::pass_on_held(const Mail& mail, Instant now) noexcept {
  const FourTuple& tuple = mail.handoff.state.constant.tuple;
  drain_devices(now);
  held_.take(tuple, [&](const device::RxFrame& frame, std::uint32_t port) {
    pass_on(frame, port, mail.shard);
  });
  passed_on_[tuple] = {now + config_.release_time, mail.shard};
  next_expiry_ = std::min(next_expiry_, now + config_.release_time);
}

void Shard::pass_on(const device::RxFrame& frame, std::uint32_t port,
                    std::uint32_t shard) noexcept {
  // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): without memory the engine starts again
  Mail& mail = *new Mail;
  mail.kind = MailKind::kPassedFrame;
  mail.shard = shard;
  mail.frame = {{frame.bytes.begin(), frame.bytes.end()}, port, frame.gso_size, frame.checksum};
  pending_answers_.push_back(&mail);
  stats_.add(M::kFramesPassedOn);
}

// All there is has been processed afterwards, so nothing waits for a copy.
void Shard::drain_devices(Instant now) noexcept {
  finish_copies(now);
  may_start_copies_ = false;
  for (int rounds = 0; rounds < kMaxDrainRounds && receive(now) != 0; ++rounds) {
  }
  may_start_copies_ = true;
}

void Shard::release_frames(const Mail& mail, Instant now) noexcept {
  const ConstState& constant = mail.handoff.state.constant;
  const auto is_host_s = [&] { return !is_recalled(mail.account, mail.recalls); };
  // What has reached the device's queue before steering went off is held, too, before it is given
  // back: so the order stays.
  drain_devices(now);
  // The forged segment repeats what was said before them; behind them PAWS would refuse it.
  if (!mail.forged_segment.empty()) {
    const std::uint32_t port = port_of(constant.ifindex);
    if (ports_[port].queue->reinject({mail.forged_segment, device::Checksum::kValid, 0})) {
      path(port, constant.tuple).add(P::kForgedFrames);
      path(port, constant.tuple)
          .add(P::kForgedOctets, mail.forged_segment.size() - kEthernetHeaderBytes);
      stats::add(account(mail.account).forged_frames, 1);
    }
  }
  held_.take_while(constant.tuple, [&](const device::RxFrame& frame, std::uint32_t port) {
    if (!is_host_s()) return false;
    give_back(constant.tuple, frame, port, mail.account);
    return true;
  });
  if (!is_host_s()) return;  // what is left, and what comes, is the shard's again
  released_[constant.tuple] = {now + config_.release_time, mail.account, mail.recalls};
  next_expiry_ = std::min(next_expiry_, now + config_.release_time);
}

// As the kernel at process exit: unread data resets, else what was written is sent and the FIN
// after it (RFC 2525 2.17).
void Shard::detach(ShardArena& arena, Instant now) noexcept {
  arena.for_each_flow([&](Flow& flow) {
    read_slot(flow, now);
    if (flow.slot == nullptr) return;
    close_slot(flow, flow.cached.linger_on && flow.cached.linger_s == 0, now);
  });
  std::erase(arenas_, &arena);
  std::erase(marked_arenas_, &arena);
  woken_here_ = nullptr;
}

void Shard::forget(Flow& flow) noexcept {
  SNP_ASSERT(flow.ahead.is_empty());
  TimingWheel::remove(flow);
  flows_.erase(flow.tuple);
  by_id_.erase(flow.id);
  // It is counted elsewhere from here on, or it is over.
  if (flow.known_state == TcpState::kEstablished || flow.known_state == TcpState::kCloseWait)
    flow.path->add(P::kEstablished, ~std::uint64_t{0});
  flow.known_state = TcpState::kClosed;
  if (std::exchange(flow.is_in_pages, false)) std::erase(with_pages_, &flow);
  stats_.set(M::kConnections, by_id_.size());
  if (std::exchange(flow.is_info_stale, false)) {
    Flow** link = &stale_;
    while (*link != &flow)
      link = &(*link)->next_stale;
    *link = flow.next_stale;
  }
  if (flow.is_touched) {
    Flow** link = &touched_;
    while (*link != &flow)
      link = &(*link)->next_touched;
    *link = flow.next_touched;
    flow.is_touched = false;
  }
}

void Shard::answer(Mail& mail, MailKind kind) noexcept {
  mail.kind = kind;
  pending_answers_.push_back(&mail);
}

void Shard::post_answers() noexcept {
  for (Mail* mail : pending_answers_)
    answers_.post(*mail);
  has_answered_ |= !pending_answers_.empty();
  pending_answers_.clear();
}

std::uint32_t Shard::port_of(std::uint32_t ifindex) const noexcept {
  for (std::uint32_t port = 0; port < ports_.size(); ++port)
    if (ports_[port].ifindex == ifindex) return port;
  SNP_ASSERT(false && "a connection leaves by a device that the engine does not have");
}

}  // namespace snp::engine
