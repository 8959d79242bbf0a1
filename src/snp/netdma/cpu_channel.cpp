#include "snp/netdma/cpu_channel.h"

#include <algorithm>
#include <vector>

#include "snp/netdma/streaming_copy.h"

namespace snp::netdma {
namespace {

class CpuChannel final : public Channel {
 public:
  explicit CpuChannel(const CpuOptions& options)
      : options_(options),
        capabilities_{options.depth, std::numeric_limits<std::uint32_t>::max(), false, false},
        ring_(options.depth) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "cpu"; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override { return capabilities_; }

  std::size_t submit(std::span<const Transfer> transfers) noexcept override {
    if (is_halted_) return 0;
    const std::size_t taken = std::min(transfers.size(), ring_.size() - outstanding());
    for (const Transfer& transfer : transfers.first(taken))
      ring_[submitted_++ % ring_.size()] = transfer;
    if (!is_suspended_) work();
    return taken;
  }

  std::size_t reap(std::span<Outcome> outcomes) noexcept override {
    const std::uint64_t end = is_halted_ ? submitted_ : finished_;
    std::size_t count = 0;
    for (; count < outcomes.size() && reaped_ != end; ++reaped_)
      outcomes[count++] = {ring_[reaped_ % ring_.size()].context,
                           reaped_ < finished_ ? Status::kDone : Status::kAborted};
    return count;
  }

  [[nodiscard]] ChannelState state() const noexcept override {
    if (is_halted_) return ChannelState::kHalted;
    if (is_suspended_) return ChannelState::kSuspended;
    return finished_ == 0 ? ChannelState::kArmed : ChannelState::kIdle;
  }
  [[nodiscard]] std::size_t outstanding() const noexcept override {
    return static_cast<std::size_t>(submitted_ - reaped_);
  }

  Result<> suspend() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "a halted channel cannot be suspended");
    is_suspended_ = true;
    return {};
  }
  Result<> resume() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "a halted channel is not resumed but reset");
    is_suspended_ = false;
    work();
    return {};
  }
  void abort() noexcept override {
    is_halted_ = true;
    is_suspended_ = false;
  }
  Result<> reset() noexcept override {
    submitted_ = finished_ = reaped_ = 0;
    is_halted_ = is_suspended_ = false;
    return {};
  }

 private:
  void work() noexcept {
    for (; finished_ != submitted_; ++finished_) {
      const Transfer& transfer = ring_[finished_ % ring_.size()];
      if ((transfer.flags & transfer_flag::kNull) == 0)
        copy_bytes(transfer.destination, transfer.source, transfer.size, options_.streaming_from);
    }
  }

  const CpuOptions options_;
  const Capabilities capabilities_;
  std::vector<Transfer> ring_;
  std::uint64_t submitted_ = 0, finished_ = 0, reaped_ = 0;  // since the last reset
  bool is_suspended_ = false, is_halted_ = false;
};

}  // namespace

std::unique_ptr<Channel> open_cpu_channel(const CpuOptions& options) {
  return std::make_unique<CpuChannel>(options);
}

}  // namespace snp::netdma
