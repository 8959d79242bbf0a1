#include "snp/daemon/copy_engines.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <tuple>
#include <utility>

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "snp/engine/copy_trial.h"
#include "snp/netdma/cpu_channel.h"
#include "snp/netdma/dmadev.h"
#include "snp/netdma/measure.h"
#include "snp/netdma/thread_channel.h"

namespace snp::daemon {
namespace {

using settings::Setting;

constexpr char kDsaQueues[] = "/sys/bus/dsa/devices";
constexpr std::string_view kDmadev = "dmadev:";
constexpr Duration kStartBudget = milliseconds(40);  // twice
constexpr Duration kLongBudget = milliseconds(500);

netdma::Figures measure(netdma::Channel& channel, Duration budget) {
  netdma::Figures figures = netdma::measure(channel, {budget});
  engine::measure_shard(channel, budget, figures);
  return figures;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    if (comma > start) words.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return words;
}

// Work queues named dpdk_ANYTHING, which DPDK takes for its own. The name is the administrator's.
std::vector<std::string> reserved_queues(const std::string& folder) {
  std::vector<std::string> queues;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string queue = entry.path().filename();
    std::string name;
    std::getline(std::ifstream(entry.path() / "name") >> std::ws, name);
    if (queue.starts_with("wq") && name.starts_with("dpdk_")) queues.push_back(queue);
  }
  std::sort(queues.begin(), queues.end());
  return queues;
}

// -1: any.
Result<int> parse_cpu(const std::string& text) {
  if (text == "any") return -1;
  int cpu = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  if (error == std::errc() && end == text.data() + text.size() && cpu >= 0 && cpu < CPU_SETSIZE)
    return cpu;
  return fail(Errc::kInvalid, "netdma_cpu '" + text + "' is neither a CPU nor any");
}

}  // namespace

Result<CopyBackend> parse_copy_backend(const std::string& text, const std::string& queues) {
  using Kind = CopyBackend::Kind;
  if (text == "cpu") return CopyBackend{Kind::kCpu, {}};
  if (text == "thread") return CopyBackend{Kind::kThread, {}};
  if (text == "automatic") {
    CopyBackend found{Kind::kNone, reserved_queues(queues)};
    if (!found.devices.empty()) found.kind = Kind::kDmadev;
    return found;
  }
  if (text.starts_with(kDmadev)) {
    CopyBackend named{Kind::kDmadev, split(text.substr(kDmadev.size()))};
    if (!named.devices.empty()) return named;
  }
  return fail(Errc::kInvalid, "netdma_backend '" + text +
                                  "' is none of automatic, cpu, thread, dmadev:DEVICE[,DEVICE]...");
}

CopyEngines::CopyEngines(const settings::Settings& values, std::uint32_t shards)
    : values_(values), shards_(shards) {
  channels_.resize(shards);
  const auto backend = parse_copy_backend(values.text(Setting::kNetdmaBackend), kDsaQueues);
  const auto cpu = parse_cpu(values.text(Setting::kNetdmaCpu));
  if (!backend)
    fault_ = backend.error().message;
  else if (!cpu)
    fault_ = cpu.error().message;
  else
    open_all(*backend, *cpu);
  if (!fault_.empty()) spdlog::warn("NetDMA: {}", fault_);
  if (channels_.front() == nullptr) return;
  calibration_ = netdma::judge(measure(*channels_.front(), kStartBudget));
}

CopyEngines::~CopyEngines() {
  if (thread_.joinable()) thread_.join();
  if (loop_ != nullptr && bell_.is_open()) loop_->remove(bell_.get());
}

void CopyEngines::open_all(const CopyBackend& backend, int cpu) {
  backend_ = backend;
  cpu_ = cpu;
  if (backend_.kind == CopyBackend::Kind::kNone) return;
  for (std::uint32_t shard = 0; shard < shards_; ++shard) {
    auto channel = open_channel(shard);
    if (!channel) {
      // The first that is missing says why; the other shards have theirs.
      if (fault_.empty()) fault_ = channel.error().message;
      continue;
    }
    ++count_;
    if (engine_.empty()) engine_ = std::string((*channel)->name());
    channels_[shard] = std::move(*channel);
  }
}

// The number of a shard, or the next after them: for whoever measures.
Result<std::unique_ptr<netdma::Channel>> CopyEngines::open_channel(std::uint32_t number) const {
  switch (backend_.kind) {
    case CopyBackend::Kind::kNone:
      break;
    case CopyBackend::Kind::kCpu:
      return netdma::open_cpu_channel();
    case CopyBackend::Kind::kThread: {
      netdma::ThreadOptions options;
      options.cpu = cpu_;
      options.number = number;
      return netdma::open_thread_channel(options);
    }
    case CopyBackend::Kind::kDmadev:
      if (number >= backend_.devices.size())
        return fail(Errc::kNotFound,
                    number < shards_
                        ? "shard " + std::to_string(number) + " has no device: name one for each"
                        : "every device serves a shard; name one more in netdma_backend to "
                          "measure with");
      return netdma::open_dmadev({backend_.devices[number], 256, backend_.devices, cpu_});
  }
  return fail(Errc::kUnsupported, "there is no copy engine to measure: netdma_backend is " +
                                      values_.text(Setting::kNetdmaBackend));
}

netdma::CopierSettings CopyEngines::copier_settings() const {
  netdma::CopierSettings out;
  out.is_enabled = values_.text(Setting::kNetdma) == "enabled";
  out.min_bytes = static_cast<std::uint32_t>(values_.number(Setting::kNetdmaMinBytes));
  out.sync_below_bytes = static_cast<std::uint32_t>(values_.number(Setting::kNetdmaSyncBelowBytes));
  const bool is_ignored = values_.text(Setting::kNetdmaBreakEven) == "ignored";
  for (std::size_t i = 0; i < out.is_worth.size(); ++i)
    out.is_worth[i] = is_ignored || calibration_.classes[i] == netdma::Worth::kYes;
  return out;
}

Result<> CopyEngines::start(EventLoop& loop, std::function<void()> changed) {
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell_.is_open()) return fail_errno("cannot make an eventfd");
  if (auto added = loop.add(bell_.get(), EPOLLIN, [this](std::uint32_t) { on_measured(); }); !added)
    return added;
  loop_ = &loop;
  changed_ = std::move(changed);
  return {};
}

void CopyEngines::calibrate(std::function<void(Result<>)> done) {
  if (thread_.joinable()) return done(fail(Errc::kBusy, "a calibration is on; try again"));
  auto channel = open_channel(shards_);
  if (!channel) return done(tl::unexpected(channel.error()));
  done_ = std::move(done);
  thread_ = std::thread([this, channel = std::move(*channel)]() mutable {
    measured_ = measure(*channel, kLongBudget);
    channel.reset();  // its device is free before anybody hears of it
    const std::uint64_t one = 1;
    std::ignore = ::write(bell_.get(), &one, sizeof one);
  });
}

void CopyEngines::on_measured() {
  std::uint64_t rung = 0;
  std::ignore = ::read(bell_.get(), &rung, sizeof rung);
  if (!thread_.joinable()) return;
  thread_.join();
  calibration_ = netdma::judge(measured_);
  if (changed_) changed_();
  const auto done = std::exchange(done_, {});
  done({});
}

void CopyEngines::fill(commands::NetdmaReport& report) const {
  const netdma::CopierSettings copier = copier_settings();
  report.is_enabled = copier.is_enabled;
  report.backend = values_.text(Setting::kNetdmaBackend);
  report.engine = engine_;
  report.fault = count_ == 0 ? fault_ : std::string();
  report.channels = count_;
  report.min_bytes = copier.min_bytes;
  report.sync_below_bytes = copier.sync_below_bytes;
  report.is_break_even_ignored = values_.text(Setting::kNetdmaBreakEven) == "ignored";
  report.calibration = calibration_;
}

}  // namespace snp::daemon
