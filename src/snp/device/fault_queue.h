// A wire that loses, doubles and disorders frames, by a seed that repeats it: wraps a queue for
// torture tests. Shard-local. A frame that is held back to come late never waits longer than the
// turn of the shard in which it was held, so that nothing hangs on it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "snp/device/packet_device.h"

namespace snp::device {

struct FaultConfig {
  // Probabilities per frame, in each direction.
  double loss = 0;
  double duplicate = 0;  // the copy follows at once
  double reorder = 0;    // comes after a few later ones
  std::uint64_t seed = 1;
};

struct FaultCounters {
  std::uint64_t lost = 0, duplicated = 0, reordered = 0;
};

class FaultQueue final : public PacketQueue {
 public:
  FaultQueue(std::unique_ptr<PacketQueue> inner, const FaultConfig& config);

  std::size_t receive(std::span<RxFrame> out) noexcept override;
  void keep(std::size_t frames) noexcept override { keep_ = frames; }
  bool transmit(const TxFrame& frame) noexcept override;
  void flush() noexcept override;
  bool reinject(const RxFrame& frame) noexcept override { return inner_->reinject(frame); }
  [[nodiscard]] int wait_fd() const noexcept override { return inner_->wait_fd(); }
  // The queue's own: a frame that this wire loses was sent.
  [[nodiscard]] QueueStats stats() const noexcept override { return inner_->stats(); }
  Result<> tap() override { return inner_->tap(); }
  Result<int> prepare_untap() override { return inner_->prepare_untap(); }
  void untap() noexcept override { inner_->untap(); }
  void finish_untap() noexcept override { inner_->finish_untap(); }
  [[nodiscard]] const FaultCounters& faults() const noexcept { return faults_; }

 private:
  enum class Fate { kPass, kLose, kDuplicate, kHold };

  struct HeldTx {
    std::vector<std::byte> headers, payload;
    TxFrame frame;  // gso_size, l4_offset, is_v6
    std::uint32_t after = 0;
  };
  struct HeldRx {
    std::vector<std::byte> bytes;
    RxFrame frame;  // checksum, gso_size
    std::uint32_t after = 0;
  };

  Fate next_fate() noexcept;
  void hold(const TxFrame& frame);
  void hold(const RxFrame& frame);
  void send_due() noexcept;
  void send(const HeldTx& held) noexcept;
  // Hands out what is due, or everything; returns how many.
  std::size_t take_due(std::span<RxFrame> out, bool all) noexcept;
  void give(RxFrame& out, const RxFrame& frame, std::uint64_t number) noexcept;
  std::size_t receive_inner() noexcept;

  std::unique_ptr<PacketQueue> inner_;
  FaultConfig config_;
  std::mt19937_64 random_;
  FaultCounters faults_;
  std::vector<HeldTx> held_tx_;
  std::vector<HeldRx> held_rx_;
  // What the caller reads: a frame of the inner queue, by its number there, or one of our own.
  struct Given {
    std::uint64_t number;
    std::vector<std::byte> bytes;
  };
  std::deque<Given> given_;
  std::uint64_t received_ = 0;  // from the inner queue
  std::size_t keep_ = 0;
  std::vector<RxFrame> burst_;
};

// A device whose queues are wrapped, each with a seed of its own. Segmentation is switched off in
// its capabilities, so that faults meet single packets.
std::unique_ptr<PacketDevice> wrap_with_faults(std::unique_ptr<PacketDevice> inner,
                                               const FaultConfig& config);

}  // namespace snp::device
