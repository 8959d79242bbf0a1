#include "snp/netdma/shard_work.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include <sys/socket.h>

#include "snp/netdma/copier.h"

namespace snp::netdma {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBurst = 32;
constexpr std::size_t kFrameBytes = 2048;  // a device's slot
constexpr std::size_t kKeptBytes = 192;    // what a shard notes of a frame that waits
constexpr std::size_t kRounds = 64;
constexpr std::size_t kPackets = 21;
constexpr std::uint32_t kLargest = 65536;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

double median(std::span<double> samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

// Is done with everything at once, and copies nothing.
class NoWork final : public Channel {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "no-work"; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override { return capabilities_; }
  std::size_t submit(std::span<const Transfer> transfers) noexcept override {
    submitted_ += transfers.size();
    return transfers.size();
  }
  std::size_t reap(std::span<Outcome> outcomes) noexcept override {
    std::size_t count = 0;
    for (; count < outcomes.size() && reaped_ != submitted_; ++reaped_)
      outcomes[count++] = {reaped_, Status::kDone};
    return count;
  }
  [[nodiscard]] ChannelState state() const noexcept override { return ChannelState::kIdle; }
  [[nodiscard]] std::size_t outstanding() const noexcept override {
    return static_cast<std::size_t>(submitted_ - reaped_);
  }
  Result<> suspend() noexcept override { return {}; }
  Result<> resume() noexcept override { return {}; }
  void abort() noexcept override {}
  Result<> reset() noexcept override { return {}; }

 private:
  const Capabilities capabilities_{256, 1u << 20, false, true};
  std::uint64_t submitted_ = 0, reaped_ = 0;
};

struct Kept {
  Copier::Ticket ticket = 0;
  const std::byte* frame = nullptr;
  std::array<std::byte, kKeptBytes> rest{};
};

}  // namespace

double measure_copier_ns() {
  Copier copier(std::make_unique<NoWork>(), {},
                [] { return Instant(Clock::now().time_since_epoch()); });
  CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = 1;
  settings.is_worth.fill(true);
  copier.configure(settings);

  std::vector<std::byte> frames(kBurst * kFrameBytes), ring(kBurst * kFrameBytes);
  std::vector<Kept> kept(kBurst * 16);  // as many as a shard keeps at most
  std::size_t next = 0;
  std::array<double, kRounds> samples;
  unsigned read = 0;
  for (double& sample : samples) {
    const std::size_t first = next;
    const auto start = Clock::now();
    for (std::size_t i = 0; i < kBurst; ++i, ++next) {
      const auto frame = std::span(frames).subspan(i * kFrameBytes, kFrameBytes);
      Kept& own = kept[next % kept.size()];
      own = {};
      own.frame = frame.data();
      if (copier.wants(kFrameBytes))
        own.ticket =
            copier.start({std::span(ring).subspan(i * kFrameBytes, kFrameBytes), {}}, frame);
    }
    copier.push();
    copier.poll();
    for (std::size_t i = first; i != next; ++i) {
      const Kept own = kept[i % kept.size()];
      copier.finish(own.ticket);
      read += std::to_integer<unsigned>(*own.frame) + std::to_integer<unsigned>(own.rest[0]);
    }
    sample = ns_since(start) / kBurst;
  }
  asm volatile("" : : "r"(read));  // it was read
  return median(samples);
}

PacketProbe::PacketProbe() : buffer_(kLargest) {
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) return;
  sender_.reset(pair[0]);
  receiver_.reset(pair[1]);
}

double PacketProbe::measure_ns(std::uint32_t bytes) {
  if (!receiver_.is_open() || bytes > buffer_.size()) return 0;
  std::array<double, kPackets> samples;
  for (double& sample : samples) {
    if (::send(sender_.get(), buffer_.data(), bytes, 0) < 0) return 0;
    const auto start = Clock::now();
    const ssize_t received = ::recv(receiver_.get(), buffer_.data(), bytes, 0);
    sample = ns_since(start);
    if (received != static_cast<ssize_t>(bytes)) return 0;
  }
  return median(samples);
}

}  // namespace snp::netdma
