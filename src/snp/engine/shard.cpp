#include "snp/engine/shard.h"

#include "snp/wire/frame.h"

namespace snp::engine {
namespace {

// A full segment without PSH (RFC 9293 3.9.1.2): more of its burst is on the way, in single
// segments. What was merged below comes in large pieces, and is worth taking at once.
bool goes_on(const Segment& segment) noexcept {
  constexpr std::size_t kFullSegment = 1000;
  return segment.gso_size == 0 && segment.payload.size() >= kFullSegment &&
         !segment.has(TcpFlags::kPsh);
}

}  // namespace

Shard::Shard(const ShardConfig& config, std::vector<DevicePort> ports, ipc::FlowRecord* records,
             Mailbox& answers, WakeGuard& guard, Instant now)
    : config_(config),
      ports_(std::move(ports)),
      records_(records),
      answers_(answers),
      guard_(guard),
      flows_(0, FourTupleHash{config.hash_seed}),
      released_(0, FourTupleHash{config.hash_seed}),
      passed_on_(0, FourTupleHash{config.hash_seed}),
      held_(config.held_frames, kMaxHeldBytes),
      wheel_(now),
      own_paths_(config.paths != nullptr ? nullptr : new stats::PathStats[2 * ports_.size()]),
      stats_(config.stats != nullptr ? *config.stats : own_stats_),
      paths_(config.paths != nullptr ? config.paths : own_paths_.get()) {
  // What is now, and not what was when an engine before this one died.
  stats_.set(M::kConnections, 0);
  for (std::size_t i = 0; i < 2 * ports_.size(); ++i)
    paths_[i].set(P::kEstablished, 0);
  flows_.reserve(1024);
  by_id_.reserve(1024);
}

std::size_t Shard::run_once(Instant now) noexcept {
  stats_.add(M::kTurns);
  std::size_t work = 0;
  if (is_copying_) [[unlikely]]
    work = process_copied(now);
  if (!gathers(now)) work += receive(now);
  if (!leaving_.empty()) [[unlikely]]
    see_off(now);  // before mail that may use the number of one that has ended for another
  work += read_mail(now);
  work += answer_doorbells(now);
  wheel_.advance(now, [&](WheelEntry& entry) {
    auto& flow = static_cast<Flow&>(entry);
    flow.connection->on_timeout(now);
    touch(flow);
  });
  if (now >= next_expiry_) [[unlikely]]
    expire(now);
  if (now >= next_sweep_) [[unlikely]]
    give_back_pages(now);
  if (is_copying_) [[unlikely]]
    note_waiting(awaits_copies() && work == 0 && touched_ == nullptr, now);
  if (touched_ == nullptr && pending_answers_.empty()) {
    if (work == 0) publish_stale_infos(now);
    return work + (wake_applications(now) ? 1 : 0);
  }
  settle(now);
  return work + 1;
}

std::size_t Shard::receive(Instant now) noexcept {
  std::size_t received = 0;
  is_in_burst_ = false;
  if (is_copying_) [[unlikely]]
    keep_frames();
  for (std::uint32_t port = 0; port < ports_.size(); ++port) {
    const std::size_t count = ports_[port].queue->receive(burst_);
    for (std::size_t i = 0; i < count; ++i) {
      ++ports_[port].received;
      on_frame(burst_[i], port, now);
    }
    received += count;
    if (count == burst_.size()) is_in_burst_ = false;  // there is enough
  }
  // A slow stream has no bursts: its next segment is not to be waited for.
  const bool is_fast = received >= 2 || now - received_at_ < kGatherTime;
  gathers_until_ = is_in_burst_ && is_fast ? now + kGatherTime : kNever;
  if (received != 0) received_at_ = now;
  if (is_copying_) [[unlikely]] {
    copier_->push();
    process_copied(now);  // a quick engine costs no turn
  }
  return received;
}

void Shard::on_frame(const device::RxFrame& frame, std::uint32_t port, Instant now) noexcept {
  ParsedFrame parsed;
  if (const FrameVerdict verdict = parse_frame(frame.bytes, frame.gso_size, parsed);
      verdict != FrameVerdict::kTcp) [[unlikely]]
    return verdict == FrameVerdict::kFragment ? on_fragment(parsed)
                                              : count_unparsable(frame, port, verdict);
  if (frame.checksum == device::Checksum::kUnknown &&
      check_tcp(frame.bytes, parsed) == ChecksumVerdict::kBad) {
    path(port, parsed.tuple).add(P::kBadChecksums);
    return;
  }
  const auto found = flows_.find(parsed.tuple);
  if (found == flows_.end()) [[unlikely]] {
    on_unknown_flow(parsed.tuple, frame, port, now);
    return;
  }
  Flow& flow = *found->second;
  flow.path->add(P::kFramesIn);
  stats_.add(M::kSegmentsIn, segments_in(parsed.segment.payload.size(), frame.gso_size));
  is_in_burst_ = goes_on(parsed.segment);
  if (is_copying_) [[unlikely]]
    if (wait_for_copy(flow, parsed.segment, port, now)) return;
  process(flow, parsed.segment, now);
  if (flow.connection->leaves_to_host()) [[unlikely]]
    hold(parsed.tuple, frame, port, now);
}

// The host has the fragment, puts it together with the others, and drops the segment: its socket is
// parked. The peer repeats it, in fragments again.
void Shard::on_fragment(const ParsedFrame& first) noexcept {
  const auto found = flows_.find(first.tuple);
  if (found == flows_.end()) return;
  Flow& flow = *found->second;
  if (flow.slot == nullptr || !flow.connection->is_in_window(first.segment.seg_seq)) return;
  request_upload(flow, chimney::Reason::kFragments);
}

void Shard::process(Flow& flow, const Segment& segment, Instant now) noexcept {
  flow.is_pushed |= segment.has(TcpFlags::kPsh);
  if (!flow.connection->on_segment(segment, now)) stats_.add(M::kFramesUnacceptable);
  touch(flow);
}

void Shard::on_unknown_flow(const FourTuple& tuple, const device::RxFrame& frame,
                            std::uint32_t port, Instant now) noexcept {
  if (!released_.empty()) {
    const auto released = released_.find(tuple);
    if (released != released_.end() && now < released->second.until &&
        !is_recalled(released->second.account, released->second.recalls)) {
      give_back(tuple, frame, port, released->second.account);
      return;
    }
  }
  if (!passed_on_.empty()) {
    const auto passed_on = passed_on_.find(tuple);
    if (passed_on != passed_on_.end() && now < passed_on->second.until)
      return pass_on(frame, port, passed_on->second.shard);
  }
  hold(tuple, frame, port, now);
}

// Until its connection comes here, or goes to the host.
void Shard::hold(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t port,
                 Instant now) noexcept {
  if (!held_.hold(tuple, frame, port, now)) {
    stats_.add(M::kFramesHeldDropped);
    path(port, tuple).add(P::kDiscards);
    return;
  }
  stats_.add(M::kFramesHeld);
  next_expiry_ = std::min(next_expiry_, now + config_.hold_time);
}

void Shard::expire(Instant now) noexcept {
  held_.expire(now - config_.hold_time, [this](const FourTuple& tuple, std::uint32_t port) {
    stats_.add(M::kFramesHeldExpired);
    path(port, tuple).add(P::kDiscards);
  });
  next_expiry_ = held_.is_empty() ? kNever : held_.oldest() + config_.hold_time + milliseconds(1);
  for (auto passed_on = passed_on_.begin(); passed_on != passed_on_.end();) {
    if (passed_on->second.until <= now) {
      passed_on_.erase(passed_on++);
    } else {
      next_expiry_ = std::min(next_expiry_, passed_on->second.until);
      ++passed_on;
    }
  }
  for (auto released = released_.begin(); released != released_.end();) {
    if (released->second.until <= now) {
      released_.erase(released++);
    } else {
      next_expiry_ = std::min(next_expiry_, released->second.until);
      ++released;
    }
  }
}

// The frame is the host's from here on, and counts there.
bool Shard::give_back(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t port,
                      std::uint32_t account_id) noexcept {
  if (!ports_[port].queue->reinject(frame)) return false;
  stats::PathStats& counters = path(port, tuple);
  counters.add(P::kReinjectedFrames);
  counters.add(P::kReinjectedOctets, frame.bytes.size() - kEthernetHeaderBytes);
  ParsedFrame parsed;
  stats::TargetAccount& to = account(account_id);
  stats::add(to.reinjected_frames, 1);
  const bool is_whole = parse_frame(frame.bytes, frame.gso_size, parsed) == FrameVerdict::kTcp;
  stats::add(to.reinjected_segments,
             is_whole ? segments_in(parsed.segment.payload.size(), frame.gso_size) : 1);
  return true;
}

void Shard::count_unparsable(const device::RxFrame& frame, std::uint32_t port,
                             FrameVerdict verdict) noexcept {
  constexpr std::size_t kEtherTypeOffset = 12;
  const bool is_v6 = frame.bytes.size() >= kEthernetHeaderBytes &&
                     frame.bytes[kEtherTypeOffset] == std::byte{0x86} &&
                     frame.bytes[kEtherTypeOffset + 1] == std::byte{0xdd};
  path(port, is_v6).add(verdict == FrameVerdict::kTruncated ? P::kTruncated : P::kHeaderErrors);
}

stats::PathCounters Shard::path_counters() const noexcept {
  stats::PathCounters sum;
  for (std::size_t i = 0; i < 2 * ports_.size(); ++i)
    sum.merge(paths_[i].snapshot());
  return sum;
}

bool Shard::has_pending() const noexcept {
  if (touched_ != nullptr || owes_wake() || awaits_copies() || !inbox_.is_empty()) return true;
  for (const ShardArena* arena : arenas_)
    if (!ipc::is_empty(arena->doorbells())) return true;
  return false;
}

Instant Shard::next_deadline() const noexcept {
  Instant next = std::min({wheel_.next_deadline(), next_expiry_, next_sweep_, gathers_until_});
  for (const Leaving& leaving : leaving_)
    next = std::min(next, leaving.until);
  return next;
}

void Shard::touch(Flow& flow) noexcept {
  if (flow.is_touched) return;
  flow.is_touched = true;
  flow.next_touched = touched_;
  touched_ = &flow;
}

}  // namespace snp::engine
