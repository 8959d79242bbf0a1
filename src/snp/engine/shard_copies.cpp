// NetDMA: payload goes into the ring before its segment is processed, copied by an engine while the
// shard does something else. A frame waits for its copy, and the later ones of its connection wait
// behind it, so that TCP sees them in order and never a byte that is not there: what is stored,
// shown and acknowledged is complete at every moment. The device keeps the frames meanwhile.
#include <utility>

#include "snp/engine/shard.h"

namespace snp::engine {
namespace {

// More than an engine has outstanding: those that wait behind need a place, too.
constexpr std::size_t kMostPending = 512;

}  // namespace

void Shard::use_copier(std::unique_ptr<netdma::Copier> copier) {
  copier_ = std::move(copier);
  pending_ = PendingFrames(kMostPending);
  is_copying_ = copier_->is_active();
}

void Shard::configure_copies(const netdma::CopierSettings& settings) noexcept {
  if (copier_ == nullptr) return;
  copier_->configure(settings);
  is_copying_ = copier_->is_active() || !pending_.is_empty();
}

// Pre: is_copying_. False: to be processed now. `segment` lies in the newest frame of its port.
bool Shard::wait_for_copy(Flow& flow, const Segment& segment, std::uint32_t port,
                          Instant now) noexcept {
  if (pending_.is_full()) finish_copies(now);
  const auto bytes = static_cast<std::uint32_t>(segment.payload.size());
  const bool is_wanted =
      may_start_copies_ && bytes != 0 && copier_->is_active() && copier_->wants(bytes);
  if (!is_wanted && flow.ahead.is_empty()) return false;

  const std::uint32_t placeable = flow.ahead.placeable(*flow.connection, segment);
  if (is_wanted && placeable == 0)
    copier_->count_by_cpu(netdma::Copier::Outcome::kNotInOrder, bytes);
  const std::uint32_t placed = is_wanted ? placeable : 0;
  if (placed == 0 && flow.ahead.is_empty()) return false;

  const tcp::Streams& streams = flow.connection->streams();
  const std::uint64_t position = streams.rx_range.end + flow.ahead.bytes();
  PendingFrame& frame = pending_.push();
  frame = {&flow, segment, 0, ports_[port].received, port, flow.ahead.add(segment, placeable)};
  frame.segment.placed = placed;
  if (placed == 0) return true;
  const auto [first, second] = streams.rx.pieces(position, placed);
  frame.ticket = copier_->start({first, second}, segment.payload.first(placed));
  const std::uint64_t limit = flow.connection->receive_buffer();
  const std::uint64_t used = streams.rx_range.length() + flow.ahead.bytes();
  if (copier_->must_wait(limit - std::min(limit, used))) {
    copier_->count(stats::NetdmaMetric::kWaitsAtOnce);
    copier_->finish(frame.ticket);
    process_copied(now);
  }
  return true;
}

// Those whose turn it is. Returns how many.
std::size_t Shard::process_copied(Instant now) noexcept {
  copier_->poll();
  std::size_t count = 0;
  for (; !pending_.is_empty() && copier_->is_done(pending_.front().ticket); ++count) {
    const PendingFrame& frame = pending_.front();
    frame.flow->ahead.remove(frame.added);
    process(*frame.flow, frame.segment, now);
    pending_.pop();
  }
  if (count != 0) {
    copier_->set(stats::NetdmaMetric::kFramesKept, pending_.size());
    is_copying_ = copier_->is_active() || !pending_.is_empty();
  }
  return count;
}

// Whoever lets go of a connection, its memory or a device does it after this.
void Shard::finish_copies(Instant now) noexcept {
  if (pending_.is_empty()) return;
  copier_->finish_all();
  process_copied(now);
}

void Shard::keep_frames() noexcept {
  for (std::uint32_t port = 0; port < ports_.size(); ++port)
    ports_[port].queue->keep(pending_.frames_to_keep(port, ports_[port].received));
}

// There was nothing else to do than to wait, or it is over.
void Shard::note_waiting(bool waits, Instant now) noexcept {
  if (waits == (waits_since_ != kNever)) return;
  if (!waits) copier_->note_wait(now - waits_since_);
  waits_since_ = waits ? now : kNever;
}

void Shard::stop_copies() noexcept {
  if (copier_ == nullptr) return;
  copier_->stop();
  pending_.clear();
  is_copying_ = false;
}

}  // namespace snp::engine
