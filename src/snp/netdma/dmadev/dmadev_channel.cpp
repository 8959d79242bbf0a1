#include "snp/netdma/dmadev/dmadev_channel.h"

#include <algorithm>
#include <bit>
#include <csignal>
#include <mutex>
#include <set>
#include <utility>

#include <pthread.h>
#include <rte_dmadev.h>

namespace snp::netdma::dmadev {
namespace {

constexpr std::uint16_t kQueue = 0;
// No device says how much it takes at once; 256 KiB is what the smallest is known to take, and four
// of the largest frames.
constexpr std::uint32_t kLargestTransfer = 256 * 1024;

// Which devices are open: each serves one channel. Channels may be opened and closed by different
// threads.
class InUse {
 public:
  bool take(std::int16_t device) {
    const std::lock_guard lock(mutex_);
    return devices_.insert(device).second;
  }
  void give_back(std::int16_t device) {
    const std::lock_guard lock(mutex_);
    devices_.erase(device);
  }

 private:
  std::mutex mutex_;
  std::set<std::int16_t> devices_;
};

InUse& in_use() {
  static InUse devices;
  return devices;
}

bool is_null(const Transfer& transfer) noexcept {
  return (transfer.flags & transfer_flag::kNull) != 0 || transfer.size == 0;
}

Failure failure(const char* what, int error) {
  return fail_errno(std::string("DPDK ") + what, -error);
}

// Descriptors for `depth` copies: rings of DPDK keep one free.
std::uint16_t descriptors(const rte_dma_info& info, std::uint32_t depth) {
  const std::uint32_t wanted = std::bit_ceil(depth + 1);
  return static_cast<std::uint16_t>(std::clamp<std::uint32_t>(
      wanted, info.min_desc, std::bit_floor(std::uint32_t{info.max_desc})));
}

Result<> configure(std::int16_t device, const rte_dma_info& info, std::uint32_t depth) {
  if ((info.dev_capa & RTE_DMA_CAPA_MEM_TO_MEM) == 0 ||
      (info.dev_capa & RTE_DMA_CAPA_OPS_COPY) == 0)
    return fail(Errc::kUnsupported, "does not copy from memory to memory");
  rte_dma_conf config{};
  config.nb_vchans = 1;
  if (const int done = rte_dma_configure(device, &config); done != 0)
    return failure("cannot configure it", done);
  rte_dma_vchan_conf queue{};
  queue.direction = RTE_DMA_DIR_MEM_TO_MEM;
  queue.nb_desc = descriptors(info, depth);
  if (const int done = rte_dma_vchan_setup(device, kQueue, &queue); done != 0)
    return failure("cannot set its queue up", done);
  return {};
}

}  // namespace

DmadevChannel::DmadevChannel(std::int16_t device, std::string name, const Capabilities& caps)
    : device_(device), name_(std::move(name)), caps_(caps), entries_(caps.depth) {}

Result<std::unique_ptr<Channel>> DmadevChannel::open(std::int16_t device, const std::string& name,
                                                     std::uint32_t depth) {
  if (!in_use().take(device)) return fail(Errc::kBusy, "another shard has it; name one for each");
  Capabilities caps;
  rte_dma_info info{};
  Result<> ready;
  if (const int done = rte_dma_info_get(device, &info); done != 0)
    ready = failure("does not know it", done);
  else
    ready = configure(device, info, depth);
  if (!ready) {
    in_use().give_back(device);
    return tl::unexpected(ready.error());
  }
  caps.depth = depth;
  caps.largest_transfer = kLargestTransfer;
  caps.needs_pinned_memory = (info.dev_capa & RTE_DMA_CAPA_SVA) == 0;
  caps.is_asynchronous = true;
  std::unique_ptr<DmadevChannel> channel(new DmadevChannel(device, "dmadev " + name, caps));
  if (auto started = channel->start(); !started) return tl::unexpected(started.error());
  return channel;
}

DmadevChannel::~DmadevChannel() {
  stop();
  in_use().give_back(device_);
}

// A software device makes its thread here, which inherits what signals are blocked.
Result<> DmadevChannel::start() noexcept {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int done = rte_dma_start(device_);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (done != 0) return failure("cannot start it", done);
  is_running_ = true;
  return {};
}

void DmadevChannel::stop() noexcept {
  if (std::exchange(is_running_, false)) rte_dma_stop(device_);
  is_fence_due_ = false;
}

std::size_t DmadevChannel::submit(std::span<const Transfer> transfers) noexcept {
  if (is_halted_) return 0;
  std::size_t taken = 0;
  for (const Transfer& transfer : transfers) {
    if (tail_ - head_ == entries_.size() || transfer.size > caps_.largest_transfer) break;
    entry(tail_++) = {transfer, Status::kDone};
    ++taken;
  }
  if (is_running_) give();
  return taken;
}

// SERIALIZE_TRANSFER speaks of the one after it, DPDK's flag of those before it.
void DmadevChannel::give() noexcept {
  bool has_given = false;
  for (; given_ != tail_; ++given_) {
    const Transfer& transfer = entry(given_).transfer;
    if (!is_null(transfer)) {
      const int index = rte_dma_copy(device_, kQueue, reinterpret_cast<rte_iova_t>(transfer.source),
                                     reinterpret_cast<rte_iova_t>(transfer.destination),
                                     transfer.size, is_fence_due_ ? RTE_DMA_OP_FLAG_FENCE : 0);
      if (index < 0) break;  // no room: after the next reap
      has_given = true;
      is_fence_due_ = false;
    }
    is_fence_due_ = is_fence_due_ || (transfer.flags & transfer_flag::kFence) != 0;
  }
  if (has_given) rte_dma_submit(device_, kQueue);
  pass_nulls();
}

// Those that copy nothing are done when all before them are.
void DmadevChannel::pass_nulls() noexcept {
  while (finished_ != given_ && is_null(entry(finished_).transfer))
    ++finished_;
}

void DmadevChannel::finish(std::uint32_t copies) noexcept {
  for (; copies != 0 && finished_ != given_; --copies) {
    pass_nulls();
    ++finished_;
  }
  pass_nulls();
}

void DmadevChannel::harvest() noexcept {
  std::uint16_t last = 0;
  bool has_error = false;
  finish(rte_dma_completed(device_, kQueue, static_cast<std::uint16_t>(entries_.size()), &last,
                           &has_error));
  if (has_error) take_error();
}

// One after the other: the first that failed ends the list, whatever the device could still do.
void DmadevChannel::take_error() noexcept {
  std::uint16_t last = 0;
  auto code = RTE_DMA_STATUS_SUCCESSFUL;
  while (rte_dma_completed_status(device_, kQueue, 1, &last, &code) == 1) {
    if (code == RTE_DMA_STATUS_SUCCESSFUL) {
      finish(1);
      continue;
    }
    pass_nulls();
    if (finished_ != given_) entry(finished_++).status = Status::kFailed;
    break;
  }
  halt();
}

void DmadevChannel::halt() noexcept {
  stop();
  for (std::uint64_t number = finished_; number != tail_; ++number)
    entry(number).status = Status::kAborted;
  finished_ = given_ = tail_;
  is_suspended_ = false;
  is_halted_ = true;
}

std::size_t DmadevChannel::reap(std::span<Outcome> outcomes) noexcept {
  if (is_running_) {
    harvest();
    if (given_ != tail_) give();
  }
  std::size_t count = 0;
  for (; count < outcomes.size() && head_ != finished_; ++head_)
    outcomes[count++] = {entry(head_).transfer.context, entry(head_).status};
  return count;
}

ChannelState DmadevChannel::state() const noexcept {
  if (!rte_dma_is_valid(device_)) return ChannelState::kRemoved;
  if (is_halted_) return ChannelState::kHalted;
  if (is_suspended_) return ChannelState::kSuspended;
  if (finished_ == 0) return ChannelState::kArmed;
  return finished_ == tail_ ? ChannelState::kIdle : ChannelState::kActive;
}

Result<> DmadevChannel::suspend() noexcept {
  if (is_suspended_) return {};
  if (is_running_) harvest();
  if (is_halted_) return fail(Errc::kBusy, name_ + " is halted");
  stop();
  given_ = finished_;
  is_suspended_ = true;
  return {};
}

Result<> DmadevChannel::resume() noexcept {
  if (is_halted_) return fail(Errc::kBusy, name_ + " is halted");
  if (!is_suspended_) return {};
  if (auto started = start(); !started) return started;
  is_suspended_ = false;
  give();
  return {};
}

void DmadevChannel::abort() noexcept {
  if (is_running_) harvest();
  if (!is_halted_) halt();
}

Result<> DmadevChannel::reset() noexcept {
  if (!rte_dma_is_valid(device_)) return fail(Errc::kNotFound, name_ + " has been removed");
  abort();
  head_ = finished_ = given_ = tail_ = 0;
  if (auto started = start(); !started) return started;
  is_halted_ = false;
  return {};
}

}  // namespace snp::netdma::dmadev
