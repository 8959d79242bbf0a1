// The end of a turn: what happened becomes visible, first in the flow records, then to the
// applications, then on the wire.
#include <cerrno>

#include "snp/engine/shard.h"

namespace snp::engine {

void Shard::settle(Instant now) noexcept {
  Flow* const touched = std::exchange(touched_, nullptr);
  for (Flow* flow = touched; flow != nullptr; flow = flow->next_touched)
    commit(*flow, now);
  // The positions are out before `wants_write` is read: either we see the wish or the application,
  // after its wish, sees the room.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (Flow* flow = touched; flow != nullptr;) {
    Flow* const next = flow->next_touched;
    flow->is_touched = false;
    tell_application(*flow, now);
    flow->settled_at = now;
    if (flow->has_filled_pages || flow->has_written_pages)
      next_sweep_ = std::min(next_sweep_, now + kRestTime);
    follow_streams(*flow);
    send_segments(*flow, now);
    note_sending(*flow, now);
    take_events(*flow);
    note_state(*flow);
    if (now - flow->info_at >= kInfoInterval)
      publish_info(*flow, now);
    else if (!std::exchange(flow->is_info_stale, true))
      flow->next_stale = std::exchange(stale_, flow);
    // Copies into its ring are finished first; the last one comes by here again.
    if (flow->slot == nullptr && flow->connection->state() == TcpState::kClosed &&
        flow->ahead.is_empty()) {
      forget(*flow);
      stats_.add(M::kConnectionsFinished);
      answer(flow->finished_mail, MailKind::kFinished);
    } else {
      wheel_.schedule(*flow, flow->connection->next_timeout());
    }
    flow = next;
  }
  for (DevicePort& port : ports_)
    if (std::exchange(port.has_sent, false)) port.queue->flush();
  wake_applications(now);
  post_answers();
}

void Shard::commit(Flow& flow, Instant now) noexcept {
  const tcp::Connection& connection = *flow.connection;
  const tcp::Streams& streams = connection.streams();
  ipc::commit(*flow.record, {streams.tx_range.begin, streams.rx_range.end, to_ms_ticks(now),
                             connection.export_delegated(now)});
  if (flow.slot == nullptr) return;
  auto& side = flow.slot->engine;
  side.rx_head.store(streams.rx_range.end, std::memory_order_release);
  side.tx_tail.store(streams.tx_range.begin, std::memory_order_release);
  publish_buffers(flow);
}

// The application follows what the connection may use of its rings.
void Shard::publish_buffers(Flow& flow) noexcept {
  const std::uint32_t rx = flow.connection->receive_buffer();
  const std::uint32_t tx = flow.connection->send_buffer();
  if (rx == flow.rx_limit && tx == flow.tx_limit) [[likely]]
    return;
  flow.rx_limit = rx;
  flow.tx_limit = tx;
  flow.rx_most = std::max(flow.rx_most, rx);
  flow.tx_most = std::max(flow.tx_most, tx);
  flow.slot->buffers.rx_limit.store(rx, std::memory_order_release);
  flow.slot->buffers.tx_limit.store(tx, std::memory_order_release);
}

// Pre: committed. Says what is new since it was told last.
void Shard::tell_application(Flow& flow, Instant now) noexcept {
  const tcp::Streams& streams = flow.connection->streams();
  const bool has_more = flow.rx_head != streams.rx_range.end;
  stats_.add(M::kBytesIn, streams.rx_range.end - flow.rx_head);
  flow.rx_head = streams.rx_range.end;
  if (has_more) {
    flow.has_filled_pages = true;
    note_pages(flow);
  }
  if (flow.slot == nullptr) return;

  bool has_other_news = false;
  bool is_news = has_more && streams.rx_range.length() >=
                                 flow.slot->app.receive_low_at.load(std::memory_order_relaxed);
  if (has_received_fin(flow.connection->state()) &&
      (flow.status & ipc::slot_status::kPeerClosed) == 0) {
    flow.status |= ipc::slot_status::kPeerClosed;
    flow.slot->engine.status.store(flow.status, std::memory_order_release);
    is_news = has_other_news = true;
  }
  if (!flow.is_write_notified) {
    const auto queued = static_cast<std::uint32_t>(streams.tx_range.length());
    const std::uint32_t limit = std::max(flow.tx_limit, queued);
    const bool has_room =
        queued == 0 || limit - queued >= ipc::write_room(limit, flow.cached.notsent_lowat);
    if (has_room && flow.slot->app.wants_write.load(std::memory_order_relaxed) != 0)
      is_news = flow.is_write_notified = has_other_news = true;
  }
  // The middle of a burst, as the missing PSH says (RFC 9293 3.9.1.2), may wait for its end: waking
  // the reader for each segment would cost two changes of thread for each.
  const bool is_end = std::exchange(flow.is_pushed, false) || has_other_news ||
                      streams.rx_range.length() >= kEagerBytes;
  if (is_news) notify(flow, is_end ? now : now + kBurstWait);
}

void Shard::notify(Flow& flow, Instant wake_due) noexcept {
  wake_due_ = std::min(wake_due_, wake_due);
  ShardArena& arena = *flow.arena;
  for (const auto& word : flow.slot->app.wait_sets) {
    const ipc::WaitSetId id = word.load(std::memory_order_relaxed);
    if (id == 0 || id >= ipc::kWaitSets) continue;
    ipc::mark(arena.wait_set(id).ready, flow.slot_id);
    arena.note_marked(id);
    if (!std::exchange(arena.is_marked, true)) marked_arenas_.push_back(&arena);
  }
}

void Shard::send_segments(Flow& flow, Instant now) noexcept {
  for (std::uint32_t plans = 0; plans < kMaxPlans; ++plans) {
    const auto plan = flow.connection->poll_segment(now);
    if (!plan) return;
    send(flow, *plan);
  }
  touch(flow);  // the others get their turn
}

void Shard::send(Flow& flow, const tcp::SegmentPlan& plan) noexcept {
  const SeqNum end = plan.seq + plan.payload_len + ((plan.flags & TcpFlags::kFin) != 0 ? 1 : 0);
  if (end > flow.snd_max) {
    flow.snd_max = end;
    flow.record->snd_max.store(end.value(), std::memory_order_release);
  }
  const bool can_cut = ports_[flow.device].caps.max_frame_payload != 0;
  if (plan.payload_len <= plan.gso_size || can_cut || plan.gso_size == 0)
    return send_frame(flow, plan, 0, plan.payload_len, plan.flags);
  for (std::uint32_t offset = 0; offset < plan.payload_len; offset += plan.gso_size) {
    const std::uint32_t length = std::min(plan.gso_size, plan.payload_len - offset);
    const bool is_last = offset + length == plan.payload_len;
    // FIN and PSH belong to the last piece, CWR to the first (RFC 3168 6.1.2).
    unsigned flags = plan.flags;
    if (!is_last) flags &= ~unsigned{TcpFlags::kFin | TcpFlags::kPsh};
    if (offset != 0) flags &= ~unsigned{TcpFlags::kCwr};
    send_frame(flow, plan, offset, length, static_cast<std::uint8_t>(flags));
  }
}

void Shard::send_frame(Flow& flow, const tcp::SegmentPlan& plan, std::uint32_t offset,
                       std::uint32_t length, std::uint8_t flags) noexcept {
  std::array<std::byte, HeaderTemplate::kMaxBytes> headers;
  const SegmentFields fields{plan.seq + offset, plan.ack, plan.wnd, flags, plan.is_ect, length};
  const std::size_t bytes = flow.headers.write(fields, plan.options, headers.data());
  const auto [first, second] =
      flow.connection->streams().tx.pieces(plan.payload_pos + offset, length);
  DevicePort& port = ports_[flow.device];
  if (!port.caps.tx_checksum)
    finish_tcp_checksum({headers.data(), bytes}, flow.headers.l4_offset(), first, second);
  const device::TxFrame frame{
      {headers.data(), bytes},
      {first, second},
      length > plan.gso_size ? static_cast<std::uint16_t>(plan.gso_size) : std::uint16_t{0},
      flow.headers.l4_offset(),
      flow.headers.is_v6()};
  port.has_sent = true;
  if (!port.queue->transmit(frame)) {
    port.queue->flush();
    if (!port.queue->transmit(frame)) return flow.path->add(P::kFramesNotSent);
  }
  const std::uint64_t segments = segments_in(length, frame.gso_size);
  flow.path->add(P::kFramesOut);
  flow.path->add(P::kOctetsOut, bytes - kEthernetHeaderBytes + length);
  flow.path->add(P::kSegmentsOut, segments);
  stats_.add(M::kBytesOut, length);
  stats::add(flow.account->segments_out, segments);
  if ((flags & TcpFlags::kRst) != 0) [[unlikely]]
    flow.path->add(P::kResetsOut);
  if (plan.is_retransmission) {
    flow.path->add(P::kRetransmits, segments);
    stats::add(flow.account->retransmits, segments);
  }
}

// CurrEstab and EstabResets, as RFC 4022 has them.
void Shard::note_state(Flow& flow) noexcept {
  const TcpState state = flow.connection->state();
  const TcpState before = std::exchange(flow.known_state, state);
  if (state == before) [[likely]]
    return;
  const auto is_established = [](TcpState of) {
    return of == TcpState::kEstablished || of == TcpState::kCloseWait;
  };
  if (is_established(before) && state == TcpState::kClosed) flow.path->add(P::kEstabResets);
  if (is_established(before) == is_established(state)) return;
  flow.path->add(P::kEstablished, is_established(state) ? 1 : ~std::uint64_t{0});
}

// As Linux has it, the buffer is what is too small when all that is in it has been sent, and
// whoever writes waits for room.
void Shard::note_sending(Flow& flow, Instant now) noexcept {
  using Held = SendClock::Held;
  Held held = Held::kBusy;
  switch (flow.connection->sending()) {
    case tcp::Sending::kIdle:
      held = Held::kIdle;
      break;
    case tcp::Sending::kBusy:
      break;
    case tcp::Sending::kWindow:
      held = Held::kWindow;
      break;
    case tcp::Sending::kAllSent:
      if (flow.slot != nullptr && !flow.is_write_notified &&
          flow.slot->app.wants_write.load(std::memory_order_relaxed) != 0)
        held = Held::kBuffer;
      break;
  }
  flow.send_clock.note(held, now);
}

void Shard::take_events(Flow& flow) noexcept {
  const std::uint32_t events = flow.connection->take_events();
  constexpr std::uint32_t kLeaves = tcp::kUrgent | tcp::kSuccessor;
  if ((events & (tcp::kReset | tcp::kTimedOut | kLeaves)) == 0) [[likely]]
    return;
  // Linux, tcp_reset(): a reset after the peer's FIN is a broken pipe.
  if ((events & tcp::kReset) != 0) stats_.add(M::kConnectionsReset);
  if ((events & tcp::kTimedOut) != 0) stats_.add(M::kConnectionsTimedOut);
  if ((events & tcp::kReset) != 0)
    set_error(flow, (flow.status & ipc::slot_status::kPeerClosed) != 0 ? EPIPE : ECONNRESET);
  if ((events & tcp::kTimedOut) != 0) set_error(flow, ETIMEDOUT);
  if ((events & kLeaves) != 0)
    request_upload(flow, (events & tcp::kUrgent) != 0 ? chimney::Reason::kUrgent
                                                      : chimney::Reason::kNewConnection);
}

void Shard::request_upload(Flow& flow, chimney::Reason reason) noexcept {
  if (std::exchange(flow.is_upload_requested, true)) return;
  flow.upload_mail.reason = reason;
  answer(flow.upload_mail, MailKind::kUploadRequested);
}

void Shard::set_error(Flow& flow, int error) noexcept {
  if (flow.slot == nullptr || (flow.status & ipc::slot_status::kError) != 0) return;
  flow.status |= ipc::slot_status::kError;
  flow.slot->engine.error.store(error, std::memory_order_relaxed);
  flow.slot->engine.status.store(flow.status, std::memory_order_release);
  notify(flow, Instant::min());
}

void Shard::publish_info(Flow& flow, Instant now) noexcept {
  flow.info_at = now;
  const tcp::Info info = flow.connection->info();
  flow.info.store(info);
  ipc::store_path(*flow.record, flow.connection->export_path(now),
                  flow.connection->export_mtu_search(now), to_ms_ticks(now));
  if (flow.slot == nullptr) return;
  constexpr auto kRelaxed = std::memory_order_relaxed;
  ipc::SlotInfo& out = flow.slot->info;
  const std::uint32_t mss = std::max(info.snd_mss, 1u);
  out.srtt_us.store(info.srtt_us, kRelaxed);
  out.rttvar_us.store(info.rttvar_us, kRelaxed);
  out.rto_us.store(info.rto_us, kRelaxed);
  out.snd_mss.store(info.snd_mss, kRelaxed);
  out.rcv_mss.store(info.rcv_mss, kRelaxed);
  out.cwnd_segments.store(info.cwnd_bytes / mss, kRelaxed);
  // The kernel's word for none yet is TCP_INFINITE_SSTHRESH.
  out.ssthresh_segments.store(
      info.ssthresh_bytes == 0xffffffff ? 0x7fffffff : info.ssthresh_bytes / mss, kRelaxed);
  const std::uint32_t unacked = (info.unacked_bytes + mss - 1) / mss;
  const std::uint32_t sacked = (info.sacked_bytes + mss - 1) / mss;
  out.unacked_segments.store(unacked, kRelaxed);
  out.rcv_space.store(info.receive_buffer, kRelaxed);
  out.rcv_wnd.store(info.rcv_wnd, kRelaxed);
  out.tcp_state.store(linux_number(info.state), kRelaxed);
  out.snd_wnd.store(info.snd_wnd, kRelaxed);
  const std::uint32_t ca_state = info.has_timed_out ? 4 : info.is_recovering ? 3 : 0;
  out.ca_state.store(info.is_reducing ? 2 : ca_state, kRelaxed);
  out.retransmits.store(info.retransmits, kRelaxed);
  out.probes.store(info.probes, kRelaxed);
  out.backoff.store(info.backoff, kRelaxed);
  out.sacked_segments.store(sacked, kRelaxed);
  out.lost_segments.store((info.lost_bytes + mss - 1) / mss, kRelaxed);
  out.notsent_bytes.store(info.unsent_bytes, kRelaxed);
  out.min_rtt_us.store(info.min_rtt_us, kRelaxed);
  out.rcv_rtt_us.store(info.rcv_rtt_us, kRelaxed);
  out.is_app_limited.store(info.is_delivery_app_limited ? 1 : 0, kRelaxed);
  out.last_data_sent_ms.store(to_ms_ticks(info.last_data_sent), kRelaxed);
  out.last_data_recv_ms.store(to_ms_ticks(info.last_data_received), kRelaxed);
  out.last_recv_ms.store(to_ms_ticks(info.last_received), kRelaxed);
  out.pacing_rate.store(info.pacing_rate, kRelaxed);
  out.delivery_rate.store(info.delivery_rate, kRelaxed);
  out.resent_segments.store((info.resent_in_flight_bytes + mss - 1) / mss, kRelaxed);
  publish_life(flow, info, now);
}

namespace {

// What TCP_INFO counts, as this connection object has. Bytes follow from positions (ipc/arena.h).
TcpCounters counters_in(const tcp::Info& info) noexcept {
  const std::uint32_t mss = std::max(info.snd_mss, 1u);
  const std::uint32_t unacked = (info.unacked_bytes + mss - 1) / mss;
  const std::uint32_t sacked = (info.sacked_bytes + mss - 1) / mss;
  TcpCounters counters;
  counters.bytes_retrans = info.bytes_resent;
  counters.segs_in = info.segments_in;
  counters.segs_out = info.segments_out;
  counters.data_segs_in = info.data_segments_in;
  counters.data_segs_out = info.data_segments_out;
  counters.total_retrans = info.total_retransmits;
  // Modulo 2^32: what was in flight when it came here is delivered, and was sent before.
  counters.delivered = info.data_segments_out - info.total_retransmits + sacked - unacked;
  counters.dsack_dups = info.duplicates_reported;
  counters.rcv_ooopack = info.out_of_order;
  counters.reord_seen = info.reorderings;
  counters.delivered_ce = static_cast<std::uint32_t>((info.bytes_marked + mss - 1) / mss);
  return counters;
}

}  // namespace

void Shard::begin_life(Flow& flow, Instant now) noexcept {
  flow.send_clock.begin(now);
  flow.before = load(flow.slot->life.counted);
  for_each_counter([](auto& before, const auto& counted) { before -= counted; }, flow.before,
                   counters_in(flow.connection->info()));
}

void Shard::publish_life(Flow& flow, const tcp::Info& info, Instant now) noexcept {
  ipc::SlotLife& life = flow.slot->life;
  constexpr auto kRelaxed = std::memory_order_relaxed;
  TcpCounters total = counters_in(info);
  const SendClock::Times times = flow.send_clock.times(now);
  total.busy_time = times.busy_us;
  total.rwnd_limited = times.window_us;
  total.sndbuf_limited = times.buffer_us;
  for_each_counter([](auto& sum, const auto& before) { sum += before; }, total, flow.before);
  // Segments in flight are told from bytes: that may be one too many for a moment, and a counter
  // never goes back.
  const TcpCounters told = load(life.counted);
  store(life.counted, grown(told, told, total));
  const std::uint64_t in_flight = info.bytes_sent - info.bytes_resent - info.bytes_acked;
  life.sent.store(flow.connection->streams().tx_range.begin + in_flight, kRelaxed);
  life.is_fin_acknowledged.store(info.is_fin_acknowledged ? 1 : 0, kRelaxed);
}

// There is nothing else to do: what the interval held back is told before the shard sleeps.
void Shard::publish_stale_infos(Instant now) noexcept {
  while (stale_ != nullptr) {
    Flow& flow = *std::exchange(stale_, stale_->next_stale);
    flow.is_info_stale = false;
    publish_info(flow, now);
  }
}

bool Shard::wake_applications(Instant now) noexcept {
  if (now < wake_due_) return false;
  wake_due_ = kNever;
  for (ShardArena* arena : marked_arenas_) {
    arena->is_marked = false;
    arena->take_marked([&](ipc::WaitSetId id) {
      ipc::WaitSet& set = arena->wait_set(id);
      if (set.sleeping.load() == 0 || set.sleeping.exchange(0) == 0) return;
      if (set.cpu.load(std::memory_order_relaxed) == cpu_) woken_here_ = &set;
      stats_.add(M::kWakeups);
      guard_.wake(arena->arena(), id);
    });
  }
  marked_arenas_.clear();
  return true;
}

}  // namespace snp::engine
