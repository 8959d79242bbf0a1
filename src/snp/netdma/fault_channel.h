// A copy engine that fails, for torture tests: wraps a channel, and by a seed that repeats it, or
// by inject(), lets copies never finish, end with an error half-way, finish late, or be reported in
// the wrong order. It allocates. Shard-local, as every channel.
//
// Where an engine breaks the contract (disorder, a report after reset()), that is the fault: its
// client must keep the stream right nevertheless. It never touches memory after abort().
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "snp/netdma/channel.h"

namespace snp::netdma {

enum class CopyFault : std::uint8_t {
  kNone,
  kNever,     // not done, and holds back all behind it until abort()
  kError,     // half of it is done; reported as failed, and the channel halts
  kLate,      // as kNever, and its outcome comes once more after abort() and reset()
  kDisorder,  // reported after the one behind it
};

struct CopyFaultConfig {
  // Probabilities per copy.
  double never = 0, error = 0, late = 0, disorder = 0;
  double full = 0;  // per submit(): the queue takes nothing
  std::uint64_t seed = 1;
};

struct CopyFaultCounters {
  std::uint64_t never = 0, errors = 0, late = 0, disordered = 0, full = 0;
};

class FaultChannel final : public Channel {
 public:
  FaultChannel(std::unique_ptr<Channel> inner, const CopyFaultConfig& config);

  // The copy that is submitted after `after` others from now on.
  void inject(CopyFault fault, std::uint32_t after = 0);
  void set_full(bool is_full) noexcept { is_full_ = is_full; }
  // The provider goes away: nothing finishes any more, and reset() fails.
  void remove() noexcept;
  [[nodiscard]] const CopyFaultCounters& faults() const noexcept { return faults_; }

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override {
    return inner_->capabilities();
  }
  std::size_t submit(std::span<const Transfer> transfers) noexcept override;
  std::size_t reap(std::span<Outcome> outcomes) noexcept override;
  [[nodiscard]] ChannelState state() const noexcept override;
  [[nodiscard]] std::size_t outstanding() const noexcept override { return entries_.size(); }
  Result<> suspend() noexcept override;
  Result<> resume() noexcept override;
  void abort() noexcept override;
  Result<> reset() noexcept override;

 private:
  struct Entry {
    Transfer transfer;
    CopyFault fault = CopyFault::kNone;
    bool is_finished = false;
    Status status = Status::kDone;
    std::uint64_t number = 0;  // its context with the inner channel
  };

  CopyFault next_fault() noexcept;
  CopyFault random_fault() noexcept;
  bool give(Entry& entry) noexcept;
  void harvest() noexcept;
  void halt() noexcept;

  std::unique_ptr<Channel> inner_;
  const CopyFaultConfig config_;
  const std::string name_;
  std::mt19937_64 random_;
  CopyFaultCounters faults_;
  struct Injected {
    CopyFault fault;
    std::uint32_t after;
  };
  std::vector<Injected> injected_;
  std::deque<Entry> entries_;    // as submitted
  std::vector<Outcome> ghosts_;  // reported once more after reset()
  std::uint64_t next_number_ = 0;
  bool is_full_ = false, is_halted_ = false, is_removed_ = false, has_finished_ = false;
};

}  // namespace snp::netdma
