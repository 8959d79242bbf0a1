// The copy engines of the shards: opened as the settings say, measured at start-up and on demand,
// and explained. Control thread; measuring on demand happens in a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "snp/base/unique_fd.h"
#include "snp/commands/service.h"
#include "snp/daemon/event_loop.h"
#include "snp/netdma/channel.h"
#include "snp/netdma/copier.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

// The setting netdma_backend, taken apart.
struct CopyBackend {
  enum class Kind : std::uint8_t { kNone, kCpu, kThread, kDmadev };
  Kind kind = Kind::kNone;
  std::vector<std::string> devices;  // kDmadev: one for each shard; more are spare
};
// "automatic": queues of DSA that an administrator reserved for DPDK, else none. `queues` is the
// kernel's list of them, /sys/bus/dsa/devices.
Result<CopyBackend> parse_copy_backend(const std::string& text, const std::string& queues);

class CopyEngines {
 public:
  // `values` is followed. Opens and measures; what cannot be opened is logged and reported, and the
  // CPU copies. Takes a tenth of a second when there is an engine, else nothing.
  CopyEngines(const settings::Settings& values, std::uint32_t shards);
  CopyEngines(const CopyEngines&) = delete;
  CopyEngines& operator=(const CopyEngines&) = delete;
  ~CopyEngines();

  // The shard's; nullptr: it has none. Once for each.
  std::unique_ptr<netdma::Channel> take_channel(std::uint32_t shard) {
    return std::move(channels_[shard]);
  }

  // As the settings and the last calibration have it now.
  [[nodiscard]] netdma::CopierSettings copier_settings() const;

  // From here on calibrate() works; `changed`: copier_settings() is another.
  Result<> start(EventLoop& loop, std::function<void()> changed);
  // Measures for a second, with an engine that no shard uses, and takes the result over. `done` is
  // called in any case but destruction.
  void calibrate(std::function<void(Result<>)> done);

  // But for what shards count.
  void fill(commands::NetdmaReport& report) const;

 private:
  [[nodiscard]] Result<std::unique_ptr<netdma::Channel>> open_channel(std::uint32_t number) const;
  void open_all(const CopyBackend& backend, int cpu);
  void on_measured();

  const settings::Settings& values_;
  const std::uint32_t shards_;
  CopyBackend backend_;
  int cpu_ = -1;  // of threads that copy; -1: any
  std::vector<std::unique_ptr<netdma::Channel>> channels_;
  std::string engine_;  // its name; empty: none
  std::string fault_;
  std::uint32_t count_ = 0;  // channels that were opened
  netdma::Calibration calibration_;

  EventLoop* loop_ = nullptr;
  std::function<void()> changed_;
  std::function<void(Result<>)> done_;
  UniqueFd bell_;             // eventfd: the thread has measured
  std::thread thread_;        // joinable: it measures
  netdma::Figures measured_;  // the thread's until the bell
};

}  // namespace snp::daemon
