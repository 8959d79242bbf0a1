#include "snp/device/fault_queue.h"

#include <algorithm>
#include <utility>

namespace snp::device {
namespace {

// A held frame comes after so many later ones.
constexpr std::uint32_t kMaxLateness = 6;
constexpr std::uint64_t kNoInner = ~0ull;

class FaultDevice final : public PacketDevice {
 public:
  FaultDevice(std::unique_ptr<PacketDevice> inner, const FaultConfig& config)
      : inner_(std::move(inner)), config_(config), caps_(inner_->caps()) {
    caps_.max_frame_payload = 0;
  }
  [[nodiscard]] const DeviceCaps& caps() const noexcept override { return caps_; }
  [[nodiscard]] std::string_view name() const noexcept override { return inner_->name(); }
  [[nodiscard]] std::uint32_t ifindex() const noexcept override { return inner_->ifindex(); }
  Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) override {
    auto opened = inner_->open_queue(queue);
    if (!opened) return opened;
    FaultConfig config = config_;
    config.seed += queue;
    return std::make_unique<FaultQueue>(std::move(*opened), config);
  }

 private:
  std::unique_ptr<PacketDevice> inner_;
  FaultConfig config_;
  DeviceCaps caps_;
};

}  // namespace

FaultQueue::FaultQueue(std::unique_ptr<PacketQueue> inner, const FaultConfig& config)
    : inner_(std::move(inner)), config_(config), random_(config.seed) {}

FaultQueue::Fate FaultQueue::next_fate() noexcept {
  const double chance = std::uniform_real_distribution<double>(0, 1)(random_);
  if (chance < config_.loss) {
    ++faults_.lost;
    return Fate::kLose;
  }
  if (chance < config_.loss + config_.duplicate) {
    ++faults_.duplicated;
    return Fate::kDuplicate;
  }
  if (chance < config_.loss + config_.duplicate + config_.reorder) {
    ++faults_.reordered;
    return Fate::kHold;
  }
  return Fate::kPass;
}

bool FaultQueue::transmit(const TxFrame& frame) noexcept {
  bool is_sent = true;
  switch (next_fate()) {
    case Fate::kLose:
      break;
    case Fate::kHold:
      hold(frame);
      return true;
    case Fate::kDuplicate:
      is_sent = inner_->transmit(frame) && inner_->transmit(frame);
      break;
    case Fate::kPass:
      is_sent = inner_->transmit(frame);
      break;
  }
  send_due();
  return is_sent;
}

void FaultQueue::hold(const TxFrame& frame) {
  HeldTx held;
  held.headers.assign(frame.headers.begin(), frame.headers.end());
  for (const auto& piece : frame.payload)
    held.payload.insert(held.payload.end(), piece.begin(), piece.end());
  held.frame = frame;
  held.after = 1 + static_cast<std::uint32_t>(random_() % kMaxLateness);
  held_tx_.push_back(std::move(held));
}

void FaultQueue::send(const HeldTx& held) noexcept {
  TxFrame frame = held.frame;
  frame.headers = held.headers;
  frame.payload[0] = held.payload;
  frame.payload[1] = {};
  inner_->transmit(frame);
}

void FaultQueue::send_due() noexcept {
  for (HeldTx& held : held_tx_)
    if (--held.after == 0) send(held);
  std::erase_if(held_tx_, [](const HeldTx& held) { return held.after == 0; });
}

void FaultQueue::flush() noexcept {
  for (const HeldTx& held : held_tx_)
    send(held);
  held_tx_.clear();
  inner_->flush();
}

void FaultQueue::hold(const RxFrame& frame) {
  HeldRx held;
  held.bytes.assign(frame.bytes.begin(), frame.bytes.end());
  held.frame = frame;
  held.after = 1 + static_cast<std::uint32_t>(random_() % kMaxLateness);
  held_rx_.push_back(std::move(held));
}

std::size_t FaultQueue::take_due(std::span<RxFrame> out, bool all) noexcept {
  std::size_t count = 0;
  for (HeldRx& held : held_rx_) {
    if (count == out.size()) break;
    if (!all && --held.after != 0) continue;
    held.after = 0;
    given_.push_back({kNoInner, std::move(held.bytes)});
    out[count] = held.frame;
    out[count].bytes = given_.back().bytes;
    ++count;
  }
  std::erase_if(held_rx_, [](const HeldRx& held) { return held.after == 0; });
  return count;
}

void FaultQueue::give(RxFrame& out, const RxFrame& frame, std::uint64_t number) noexcept {
  given_.push_back({number, {}});
  out = frame;
}

// Keeps what the caller keeps of its frames.
std::size_t FaultQueue::receive_inner() noexcept {
  std::uint64_t oldest = received_;
  for (const Given& given : given_)
    oldest = std::min(oldest, given.number);
  inner_->keep(static_cast<std::size_t>(received_ - oldest));
  const std::size_t count = inner_->receive(burst_);
  received_ += count;
  return count;
}

// Asks the queue for a third of what the caller takes, because each frame may become two, and later
// ones may join.
std::size_t FaultQueue::receive(std::span<RxFrame> out) noexcept {
  while (given_.size() > keep_)
    given_.pop_front();
  keep_ = 0;
  burst_.resize(std::max<std::size_t>(1, out.size() / 3));
  std::size_t count = 0;
  std::size_t received = 0;
  while (count == 0 && (received = receive_inner()) != 0) {
    for (std::size_t i = 0; i < received; ++i) {
      const std::uint64_t number = received_ - received + i;
      const Fate fate = next_fate();
      if (fate == Fate::kHold) hold(burst_[i]);
      if (fate == Fate::kPass || fate == Fate::kDuplicate) give(out[count++], burst_[i], number);
      if (fate == Fate::kDuplicate && count < out.size()) give(out[count++], burst_[i], number);
      if (fate != Fate::kHold) count += take_due(out.subspan(count), false);
    }
  }
  // Nothing more is there: what was held back comes now.
  return count != 0 ? count : take_due(out, true);
}

std::unique_ptr<PacketDevice> wrap_with_faults(std::unique_ptr<PacketDevice> inner,
                                               const FaultConfig& config) {
  return std::make_unique<FaultDevice>(std::move(inner), config);
}

}  // namespace snp::device
