// Two packet devices joined by a wire that exists only in this process: for tests of engines in
// virtual or real time. Loss, reordering and duplication follow a seed, so a run repeats exactly.
// Not a model of a network: no bandwidth, no queue limits.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "snp/base/time.h"
#include "snp/base/unique_fd.h"
#include "snp/device/packet_device.h"

namespace snp::device::sim {

struct WireConfig {
  DeviceCaps caps;           // of both ends; checksums are trusted when caps.tx_checksum
  std::uint32_t queues = 1;  // of both ends
  Duration delay{0};         // one way
  double loss = 0;           // probability per frame
  double duplicate = 0;      // the copy follows at once
  double reorder = 0;        // probability that a frame is late by `reorder_delay`
  Duration reorder_delay{0};
  std::uint64_t seed = 1;
  // Which queue of the receiving end gets a frame; empty: queue 0.
  std::function<std::uint32_t(std::span<const std::byte>)> classify;
};

class Wire;

// Keeps what was handed to the host, for tests to look at.
class SimDevice final : public PacketDevice {
 public:
  SimDevice(Wire& wire, std::size_t end) : wire_(wire), end_(end) {}
  [[nodiscard]] const DeviceCaps& caps() const noexcept override;
  [[nodiscard]] std::string_view name() const noexcept override;
  [[nodiscard]] std::uint32_t ifindex() const noexcept override;
  Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) override;

 private:
  Wire& wire_;
  std::size_t end_;
};

struct WireCounters {
  std::uint64_t sent = 0, lost = 0, duplicated = 0, reordered = 0;
};

// The wire and its two ends. Every function is safe from any thread.
class Wire {
 public:
  // `now` is asked at each transmission and reception: a test's variable or a real clock.
  Wire(WireConfig config, std::function<Instant()> now);

  [[nodiscard]] SimDevice& end(std::size_t index) { return *ends_[index]; }
  [[nodiscard]] WireCounters counters() const;
  // Frames given to the host at this end, in order; the list starts anew.
  [[nodiscard]] std::vector<std::vector<std::byte>> take_reinjected(std::size_t end);
  // When the next frame in flight arrives anywhere; kNever: none is.
  [[nodiscard]] Instant next_arrival() const;
  // Frames that were received at this end and are not given back.
  [[nodiscard]] std::size_t lent(std::size_t end) const;

 private:
  friend class SimDevice;
  friend class SimQueue;

  struct Frame {
    Instant arrival;
    std::uint16_t gso_size = 0;
    std::vector<std::byte> bytes;
  };
  // One queue of one end: frames in order of arrival.
  struct Inbox {
    std::deque<Frame> frames;
    std::size_t lent = 0;
    UniqueFd bell;
  };
  struct End {
    std::vector<Inbox> inboxes;
    std::vector<std::vector<std::byte>> reinjected;
  };

  void send(std::size_t to, const TxFrame& frame);
  void deliver(std::size_t to, Frame frame);
  bool chance(double probability);

  const WireConfig config_;
  const std::function<Instant()> now_;
  mutable std::mutex mutex_;
  std::mt19937_64 random_;
  WireCounters counters_;
  std::array<End, 2> state_;
  std::array<std::unique_ptr<SimDevice>, 2> ends_;
};

}  // namespace snp::device::sim
