#include "snp/engine/copy_trial.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/eventfd.h>

#include "snp/engine/clock.h"
#include "snp/engine/shard.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/wire/header_template.h"

namespace snp::engine {
namespace {

constexpr std::uint32_t kRing = 1u << 20;
constexpr std::uint32_t kWindow = 256 * 1024;      // that the peer may have unread
constexpr std::uint32_t kBurstBytes = 256 * 1024;  // so much in a burst
constexpr std::uint32_t kMostFrames = 32;          // but no more frames
constexpr std::uint32_t kBursts = 8;               // in a round
constexpr std::size_t kLeastPasses = 3;            // over all sizes
constexpr std::size_t kMostPasses = 200;
constexpr double kCalm = 0.25;  // of the CPU's rounds a good one counts, of the engine's a bad one
constexpr Duration kBetweenBursts = microseconds(20);
constexpr FourTuple kTuple{{IpAddress::v4(10, 0, 0, 1), 1}, {IpAddress::v4(10, 0, 0, 2), 2}};

double ns_since(Instant start) {
  return static_cast<double>((monotonic_now() - start).count());
}

// The sample below which `share` of them lie.
double quantile(std::vector<double>& samples, double share) {
  if (samples.empty()) return 0;
  const auto last = static_cast<double>(samples.size() - 1);
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(share * last);
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

// The engine of somebody else, who keeps it.
class Borrowed final : public netdma::Channel {
 public:
  explicit Borrowed(netdma::Channel& lender) : lender_(lender) {}
  [[nodiscard]] std::string_view name() const noexcept override { return lender_.name(); }
  [[nodiscard]] const netdma::Capabilities& capabilities() const noexcept override {
    return lender_.capabilities();
  }
  std::size_t submit(std::span<const netdma::Transfer> transfers) noexcept override {
    return lender_.submit(transfers);
  }
  std::size_t reap(std::span<netdma::Outcome> outcomes) noexcept override {
    return lender_.reap(outcomes);
  }
  [[nodiscard]] netdma::ChannelState state() const noexcept override { return lender_.state(); }
  [[nodiscard]] std::size_t outstanding() const noexcept override { return lender_.outstanding(); }
  Result<> suspend() noexcept override { return lender_.suspend(); }
  Result<> resume() noexcept override { return lender_.resume(); }
  void abort() noexcept override { lender_.abort(); }
  Result<> reset() noexcept override { return lender_.reset(); }

 private:
  netdma::Channel& lender_;
};

// Gives the frames that were put into it, and their memory back when the shard lets go of them.
class TrialQueue final : public device::PacketQueue {
 public:
  std::size_t receive(std::span<device::RxFrame> out) noexcept override {
    for (; received_ > keep_; --received_) {
      spare_.push_back(std::move(frames_.front()));
      frames_.pop_front();
    }
    keep_ = 0;
    const std::size_t count = std::min(out.size(), frames_.size() - received_);
    for (std::size_t i = 0; i < count; ++i)
      out[i] = {frames_[received_ + i], device::Checksum::kValid, 0};
    received_ += count;
    return count;
  }
  void keep(std::size_t frames) noexcept override { keep_ = frames; }
  bool transmit(const device::TxFrame& /*frame*/) noexcept override { return true; }
  void flush() noexcept override {}
  bool reinject(const device::RxFrame& /*frame*/) noexcept override { return true; }
  [[nodiscard]] int wait_fd() const noexcept override { return -1; }
  [[nodiscard]] device::QueueStats stats() const noexcept override { return {}; }

  // Room for the next frame.
  std::vector<std::byte>& add() {
    if (spare_.empty()) {
      spare_.reserve(frames_.size() + 1);  // receive() must not throw
      return frames_.emplace_back();
    }
    frames_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    return frames_.back();
  }

 private:
  std::deque<std::vector<std::byte>> frames_;  // the first received_ are the shard's
  std::vector<std::vector<std::byte>> spare_;
  std::size_t received_ = 0, keep_ = 0;
};

ConnectionState fresh_state() {
  ConnectionState state;
  state.constant.tuple = kTuple;
  state.constant.ifindex = 1;
  state.constant.remote_mss = 1460;
  state.constant.snd_wind_shift = state.constant.rcv_wind_shift = 7;
  state.constant.timestamps = state.constant.sack = state.constant.window_scaling = true;
  DelegatedState& delegated = state.delegated;
  delegated.snd_una = delegated.snd_nxt = delegated.snd_max = SeqNum(1);
  delegated.rcv_nxt = delegated.rcv_wup = delegated.snd_wl1 = SeqNum(1);
  delegated.snd_wl2 = delegated.snd_una;
  delegated.snd_wnd = delegated.max_snd_wnd = 65536;
  delegated.rcv_wnd = kWindow;
  return state;
}

// A shard with one connection, its peer and its application.
class Stage {
 public:
  // `channel`: its engine; null: the CPU copies.
  static Result<std::unique_ptr<Stage>> make(netdma::Channel* channel) {
    auto memory =
        ipc::SharedMemory::create("snp-trial", ipc::kRingsOffset + std::size_t{2} * kRing);
    if (!memory) return tl::unexpected(memory.error());
    UniqueFd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell.is_open()) return fail_errno("cannot make an eventfd");
    return std::unique_ptr<Stage>(new Stage(std::move(*memory), std::move(bell), channel));
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage() { shard_->stop_copies(); }

  // Some bursts of frames of this size; nanoseconds of the shard for one frame. What the engine is
  // not done with at the end it has for the next round, as in a stream.
  double round(std::uint32_t bytes) {
    const std::uint32_t burst = std::clamp(kBurstBytes / bytes, 1u, kMostFrames);
    double spent = 0;
    for (std::uint32_t i = 0; i < kBursts; ++i, now_ += kBetweenBursts)
      for (std::uint32_t written = 0; written < burst;) {
        read();
        for (; written < burst && unread_ + bytes <= kWindow; ++written)
          write(bytes);
        const Instant start = monotonic_now();
        shard_->run_once(now_);
        spent += ns_since(start);
      }
    return spent / (burst * kBursts);
  }

  // Empty: each copy that the engine was given it made.
  [[nodiscard]] std::string failure() const {
    using O = stats::CopyOutcome;
    const auto counts = shard_->copier()->stats().snapshot();
    for (const O outcome : {O::kFailed, O::kLate, O::kNoEngine})
      if (counts.of(outcome).copies != 0) return "the engine failed in the trial of a shard";
    return {};
  }

 private:
  struct TrialArena : Arena {
    TrialArena(ipc::SharedMemory made, UniqueFd bell) {
      memory = std::move(made);
      wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
      bells.push_back(std::move(bell));
    }
  };

  Stage(ipc::SharedMemory memory, UniqueFd bell, netdma::Channel* channel)
      : arena_(std::move(memory), std::move(bell)),
        view_(arena_, 0),
        slot_(view_.slot(0)),
        rx_{arena_.memory.data() + ipc::kRingsOffset, kRing},
        buffer_(kWindow) {
    auto queue = std::make_unique<TrialQueue>();
    queue_ = queue.get();
    std::vector<DevicePort> ports;
    ports.push_back({std::move(queue), {61440, true, true}, 1, false});
    shard_ =
        std::make_unique<Shard>(ShardConfig{}, std::move(ports), &record_, answers_, guard_, now_);
    attach_.kind = MailKind::kAttach;
    attach_.arena = &view_;
    shard_->inbox().post(attach_);
    initiate();
    while (shard_->run_once(now_) != 0) {
    }
    if (channel == nullptr) return;
    shard_->use_copier(std::make_unique<netdma::Copier>(std::make_unique<Borrowed>(*channel),
                                                        netdma::CopierLimits{}, monotonic_now));
    netdma::CopierSettings settings;
    settings.is_enabled = true;
    settings.min_bytes = 1;
    settings.is_worth.fill(true);
    shard_->configure_copies(settings);
  }

  void initiate() {
    slot_.app.tx_head = slot_.app.rx_tail = ipc::kFirstPosition;
    slot_.engine.rx_head = slot_.engine.tx_tail = ipc::kFirstPosition;
    slot_.app.in_use = 1;
    slot_.app.wait_sets[0] = 1;
    record_.arena = record_.slot = record_.shard = record_.account = 0;
    record_.rx_ring = ipc::kRingsOffset;
    record_.tx_ring = ipc::kRingsOffset + kRing;
    record_.rx_size = record_.tx_size = kRing;
    initiate_.kind = MailKind::kInitiate;
    initiate_.arena = &view_;
    initiate_.flow = &flow_;
    chimney::Handoff& handoff = initiate_.handoff;
    handoff.rx = rx_;
    handoff.tx = {arena_.memory.data() + record_.tx_ring, kRing};
    handoff.rx_range = handoff.tx_range = {ipc::kFirstPosition, ipc::kFirstPosition};
    handoff.state = fresh_state();
    ipc::store_state(record_, handoff.state, handoff.rx_range, handoff.tx_range, 0);
    shard_->inbox().post(initiate_);
  }

  // The peer's next segment, in this CPU's cache.
  void write(std::uint32_t bytes) {
    std::vector<std::byte>& frame = queue_->add();
    frame.assign(HeaderTemplate::kMaxBytes + bytes, std::byte{7});
    TcpOptions options;
    options.has_timestamps = true;
    options.ts_val = ++timestamp_;
    const SegmentFields fields{seq_, SeqNum(1), 500, TcpFlags::kAck | TcpFlags::kPsh, false, bytes};
    frame.resize(headers_.write(fields, options, frame.data()) + bytes);
    seq_ += bytes;
    unread_ += bytes;
  }

  void read() {
    const std::uint64_t tail = slot_.app.rx_tail.load();
    const std::uint64_t length = slot_.engine.rx_head.load() - tail;
    if (length == 0) return;
    rx_.copy_out(tail, std::span(buffer_).first(length));
    slot_.app.rx_tail.store(tail + length);
    ipc::mark(view_.doorbells(), 0);
    unread_ -= length;
  }

  Instant now_{seconds(1000)};  // of the shard; its copier has the real one
  TrialArena arena_;
  ShardArena view_;
  ipc::Slot& slot_;
  const StreamRing rx_;
  ipc::FlowRecord record_;
  Flow flow_;
  Mail attach_, initiate_;
  Mailbox answers_;
  WakeGuard guard_;
  TrialQueue* queue_ = nullptr;  // the shard's
  std::unique_ptr<Shard> shard_;
  HeaderTemplate headers_{{{}, {}, mirrored(kTuple), 64, 0, 0}};
  SeqNum seq_{1};
  std::uint32_t timestamp_ = 0;
  std::uint64_t unread_ = 0;  // on its way to the application
  std::vector<std::byte> buffer_;
};

struct Samples {
  std::vector<double> cpu, engine;
};

// One round of each; the one before it is for the caches, and for what was left of another size.
void measure_size(Stage& without, Stage& with, std::uint32_t bytes, Samples& samples) {
  without.round(bytes);
  samples.cpu.push_back(without.round(bytes));
  with.round(bytes);
  samples.engine.push_back(with.round(bytes));
}

}  // namespace

void measure_shard(netdma::Channel& channel, Duration budget, netdma::Figures& figures) {
  if (!figures.failure.empty() || !figures.is_asynchronous) return;
  auto without = Stage::make(nullptr);
  auto with = Stage::make(&channel);
  if (!without || !with) {
    figures.failure = (without ? with : without).error().message;
    return;
  }
  // Size by size, again and again: a disturbance is shared by all of them.
  std::array<Samples, netdma::kCalibrationSizes.size()> samples;
  const Instant start = monotonic_now();
  for (std::size_t pass = 0; pass < kMostPasses && figures.failure.empty(); ++pass) {
    if (pass >= kLeastPasses && monotonic_now() - start > budget) break;
    for (std::size_t i = 0; i < samples.size(); ++i)
      if (const std::uint32_t bytes = figures.sizes[i].bytes; bytes != 0)
        measure_size(**without, **with, std::min(bytes, HeaderTemplate::kMaxPayload), samples[i]);
    figures.failure = (*with)->failure();
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    figures.sizes[i].shard_cpu_ns = quantile(samples[i].cpu, kCalm);
    figures.sizes[i].shard_engine_ns = quantile(samples[i].engine, 1 - kCalm);
  }
  with->reset();  // whatever the channel has yet to do
  if (const auto reset = channel.reset(); !reset && figures.failure.empty())
    figures.failure = "the engine cannot be reset: " + reset.error().message;
}

}  // namespace snp::engine
