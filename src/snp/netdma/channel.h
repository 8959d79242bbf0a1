// One channel of a copy engine: transfers from memory to memory, in order, finished later. The
// provider contract of the original (reference 6.2, 6.3), reduced to what a client in one address
// space needs: addresses are pointers, a list is a queue, the completion word is reap().
//
// Ownership: source and destination belong to the channel from submit() until the transfer is
// reaped, or until abort() or reset() return. Thread: shard-local; one thread at a time. No
// allocation and, but for `thread` waking its worker, no system call after creation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "snp/base/result.h"

namespace snp::netdma {

struct Capabilities {
  std::uint32_t depth = 0;             // most transfers that may be outstanding
  std::uint32_t largest_transfer = 0;  // bytes
  bool needs_pinned_memory = false;    // destination and source must be registered first
  bool is_asynchronous = false;        // copies while the caller does something else
};

namespace transfer_flag {
inline constexpr std::uint32_t kFence = 0x10;  // SERIALIZE_TRANSFER: all of it, data and status,
                                               // before the next one's data is read
inline constexpr std::uint32_t kNull = 0x20;   // NULL_TRANSFER: copy nothing, but report it
}  // namespace transfer_flag

struct Transfer {
  std::byte* destination = nullptr;
  const std::byte* source = nullptr;
  std::uint32_t size = 0;
  std::uint32_t flags = 0;
  std::uint64_t context = 0;  // the client's; comes back with the outcome
};

enum class Status : std::uint8_t {
  kDone,     // every byte is in its place, visible to the reaping thread
  kFailed,   // how much was copied is unknown: the client copies it again
  kAborted,  // by abort(): as kFailed
};

struct Outcome {
  std::uint64_t context = 0;
  Status status = Status::kDone;
};

// The low bits of the original's completion word.
enum class ChannelState : std::uint8_t {
  kArmed,      // nothing finished yet since start or reset
  kActive,     // more to do
  kIdle,       // the list is finished
  kSuspended,  // stands between two transfers; submit() still queues
  kHalted,     // after an error or abort(): submit() takes nothing until reset()
  kRemoved,    // the provider is gone, and reset() fails: what was outstanding is as after abort()
};

class Channel {
 public:
  virtual ~Channel() = default;
  Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;  // backend, and device if any
  [[nodiscard]] virtual const Capabilities& capabilities() const noexcept = 0;

  // Takes transfers from the front, as many as there is room for, and sets the engine to work once
  // for all of them. Returns how many it took; 0 when halted, removed or full.
  virtual std::size_t submit(std::span<const Transfer> transfers) noexcept = 0;
  // Outcomes in the order of submission; an unfinished transfer holds back those behind it.
  virtual std::size_t reap(std::span<Outcome> outcomes) noexcept = 0;
  [[nodiscard]] virtual ChannelState state() const noexcept = 0;
  [[nodiscard]] virtual std::size_t outstanding() const noexcept = 0;  // submitted, not reaped

  // Finishes the current transfer and stands. PowerDown of the original.
  virtual Result<> suspend() noexcept = 0;
  virtual Result<> resume() noexcept = 0;
  // Stops at once. When it returns the engine touches no memory of ours any more; what was
  // outstanding is reaped as kDone where it was finished, else kAborted. Then only reset() helps.
  virtual void abort() noexcept = 0;
  // As abort(), but the outcomes are forgotten: the channel is as new. PowerUp of the original.
  virtual Result<> reset() noexcept = 0;
};

}  // namespace snp::netdma
