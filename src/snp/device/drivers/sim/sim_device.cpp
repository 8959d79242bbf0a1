#include "snp/device/drivers/sim/sim_device.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace snp::device::sim {
namespace {

std::vector<std::byte> gather(const TxFrame& frame) {
  std::vector<std::byte> bytes;
  bytes.reserve(frame.headers.size() + frame.payload[0].size() + frame.payload[1].size());
  for (const auto& piece : {frame.headers, frame.payload[0], frame.payload[1]})
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  return bytes;
}

}  // namespace

class SimQueue final : public PacketQueue {
 public:
  SimQueue(Wire& wire, std::size_t end, std::uint32_t queue)
      : wire_(wire), end_(end), queue_(queue) {}

  std::size_t receive(std::span<RxFrame> out) noexcept override {
    const std::lock_guard lock(wire_.mutex_);
    while (lent_.size() > keep_)
      lent_.pop_front();
    keep_ = 0;
    auto& inbox = wire_.state_[end_].inboxes[queue_];
    const Instant now = wire_.now_();
    const Checksum checksum =
        wire_.config_.caps.tx_checksum ? Checksum::kValid : Checksum::kUnknown;
    std::size_t count = 0;
    while (count < out.size() && !inbox.frames.empty() && inbox.frames.front().arrival <= now) {
      const Wire::Frame& frame = lent_.emplace_back(std::move(inbox.frames.front()));
      inbox.frames.pop_front();
      out[count++] = {frame.bytes, checksum, frame.gso_size};
      stats_.rx_bytes += frame.bytes.size();
    }
    stats_.rx_frames += count;
    inbox.lent = lent_.size();
    if (inbox.frames.empty()) {
      std::uint64_t rung = 0;
      std::ignore = ::read(inbox.bell.get(), &rung, sizeof rung);
    }
    return count;
  }
  void keep(std::size_t frames) noexcept override { keep_ = frames; }

  bool transmit(const TxFrame& frame) noexcept override {
    ++stats_.tx_frames;
    stats_.tx_bytes += frame.headers.size() + frame.payload[0].size() + frame.payload[1].size();
    wire_.send(1 - end_, frame);
    return true;
  }

  void flush() noexcept override {}

  bool reinject(const RxFrame& frame) noexcept override {
    const std::lock_guard lock(wire_.mutex_);
    wire_.state_[end_].reinjected.emplace_back(frame.bytes.begin(), frame.bytes.end());
    return true;
  }

  [[nodiscard]] int wait_fd() const noexcept override {
    return wire_.state_[end_].inboxes[queue_].bell.get();
  }
  [[nodiscard]] QueueStats stats() const noexcept override { return stats_; }

 private:
  Wire& wire_;
  const std::size_t end_;
  const std::uint32_t queue_;
  std::deque<Wire::Frame> lent_;
  std::size_t keep_ = 0;
  QueueStats stats_;
};

const DeviceCaps& SimDevice::caps() const noexcept {
  return wire_.config_.caps;
}
std::string_view SimDevice::name() const noexcept {
  return end_ == 0 ? "sim0" : "sim1";
}
std::uint32_t SimDevice::ifindex() const noexcept {
  return static_cast<std::uint32_t>(end_ + 1);
}

Result<std::unique_ptr<PacketQueue>> SimDevice::open_queue(std::uint32_t queue) {
  if (queue >= wire_.config_.queues)
    return fail(Errc::kInvalid, "the simulated device has fewer queues");
  return std::make_unique<SimQueue>(wire_, end_, queue);
}

Wire::Wire(WireConfig config, std::function<Instant()> now)
    : config_(std::move(config)), now_(std::move(now)), random_(config_.seed) {
  for (std::size_t end = 0; end < 2; ++end) {
    ends_[end] = std::make_unique<SimDevice>(*this, end);
    state_[end].inboxes.resize(config_.queues);
    for (auto& inbox : state_[end].inboxes)
      inbox.bell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }
}

WireCounters Wire::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

std::vector<std::vector<std::byte>> Wire::take_reinjected(std::size_t end) {
  const std::lock_guard lock(mutex_);
  return std::exchange(state_[end].reinjected, {});
}

Instant Wire::next_arrival() const {
  const std::lock_guard lock(mutex_);
  Instant next = kNever;
  for (const End& end : state_)
    for (const Inbox& inbox : end.inboxes)
      if (!inbox.frames.empty()) next = std::min(next, inbox.frames.front().arrival);
  return next;
}

std::size_t Wire::lent(std::size_t end) const {
  const std::lock_guard lock(mutex_);
  std::size_t lent = 0;
  for (const Inbox& inbox : state_[end].inboxes)
    lent += inbox.lent;
  return lent;
}

bool Wire::chance(double probability) {
  if (probability <= 0) return false;
  return std::uniform_real_distribution<double>(0, 1)(random_) < probability;
}

void Wire::send(std::size_t to, const TxFrame& frame) {
  const std::lock_guard lock(mutex_);
  ++counters_.sent;
  if (chance(config_.loss)) {
    ++counters_.lost;
    return;
  }
  Frame sent{now_() + config_.delay, frame.gso_size, gather(frame)};
  if (chance(config_.reorder)) {
    ++counters_.reordered;
    sent.arrival += config_.reorder_delay;
  }
  if (chance(config_.duplicate)) {
    ++counters_.duplicated;
    deliver(to, sent);
  }
  deliver(to, std::move(sent));
}

void Wire::deliver(std::size_t to, Frame frame) {
  const std::uint32_t queue = config_.classify ? config_.classify(frame.bytes) % config_.queues : 0;
  Inbox& inbox = state_[to].inboxes[queue];
  const auto place =
      std::upper_bound(inbox.frames.begin(), inbox.frames.end(), frame.arrival,
                       [](Instant arrival, const Frame& other) { return arrival < other.arrival; });
  inbox.frames.insert(place, std::move(frame));
  const std::uint64_t one = 1;
  std::ignore = ::write(inbox.bell.get(), &one, sizeof one);
}

}  // namespace snp::device::sim
