// A device of DPDK as a channel. The queue is ours and the device gets what it has room for, so
// that suspending it, which for DPDK means to stop it and to forget, loses nothing: what was not
// finished is given to it again. That is allowed because nobody looks at a destination, and the
// source stands, until the transfer is reaped.
//
//   head_ .. finished_    for reap()
//   finished_ .. given_   with the device
//   given_ .. tail_       waits for room in the device, or for resume()
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snp/netdma/channel.h"

namespace snp::netdma::dmadev {

class DmadevChannel final : public Channel {
 public:
  // Pre: EAL runs and `device` is one of its numbers.
  static Result<std::unique_ptr<Channel>> open(std::int16_t device, const std::string& name,
                                               std::uint32_t depth);
  ~DmadevChannel() override;

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override { return caps_; }
  std::size_t submit(std::span<const Transfer> transfers) noexcept override;
  std::size_t reap(std::span<Outcome> outcomes) noexcept override;
  [[nodiscard]] ChannelState state() const noexcept override;
  [[nodiscard]] std::size_t outstanding() const noexcept override { return tail_ - head_; }
  Result<> suspend() noexcept override;
  Result<> resume() noexcept override;
  void abort() noexcept override;
  Result<> reset() noexcept override;

 private:
  struct Entry {
    Transfer transfer;
    Status status = Status::kDone;
  };

  DmadevChannel(std::int16_t device, std::string name, const Capabilities& caps);
  [[nodiscard]] Entry& entry(std::uint64_t number) noexcept {
    return entries_[number % entries_.size()];
  }
  Result<> start() noexcept;
  void stop() noexcept;
  void give() noexcept;
  void finish(std::uint32_t copies) noexcept;
  void pass_nulls() noexcept;
  void harvest() noexcept;
  void take_error() noexcept;
  void halt() noexcept;

  const std::int16_t device_;
  const std::string name_;
  const Capabilities caps_;
  std::vector<Entry> entries_;
  std::uint64_t head_ = 0, finished_ = 0, given_ = 0, tail_ = 0;
  bool is_running_ = false;  // the device
  bool is_suspended_ = false;
  bool is_halted_ = false;
  bool is_fence_due_ = false;  // the last copy that was given asks the next one to wait for it
};

}  // namespace snp::netdma::dmadev
