#include "snp/rss/backends/rps.h"

#include <algorithm>
#include <utility>

namespace snp::rss {
namespace {

std::string queues_of(const std::string& device) {
  return "class/net/" + device + "/queues";
}

std::string mask_of(const std::string& device, const std::string& queue) {
  return queues_of(device) + "/" + queue + "/rps_cpus";
}

std::vector<std::string> receive_queues(const Sysfs& sysfs, const std::string& device) {
  std::vector<std::string> queues = sysfs.list(queues_of(device));
  std::erase_if(queues, [](const std::string& name) { return !name.starts_with("rx-"); });
  return queues;
}

class Rps final : public Backend {
 public:
  Rps(std::string device, std::uint32_t ifindex, const Sysfs& sysfs, Journal& journal)
      : device_(std::move(device)), ifindex_(ifindex), sysfs_(sysfs), journal_(journal) {}

  [[nodiscard]] BackendKind kind() const noexcept override { return BackendKind::kRps; }
  Result<> apply(const HostDistribution& wanted) override;
  Result<std::vector<std::uint64_t>> bucket_packets() override {
    return std::vector<std::uint64_t>();
  }
  Result<BackendState> look() override;
  Result<> undo() override { return restore_rps(device_, ifindex_, sysfs_, journal_); }
  void release() override { (void)journal_.remove("rps", ifindex_); }

 private:
  std::string device_;
  std::uint32_t ifindex_;
  const Sysfs& sysfs_;
  Journal& journal_;
  std::vector<CpuId> cpus_;  // as applied, in order
};

Result<> Rps::apply(const HostDistribution& wanted) {
  std::vector<CpuId> cpus = wanted.table;
  std::ranges::sort(cpus);
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  const std::vector<std::string> queues = receive_queues(sysfs_, device_);
  std::vector<JournalLine> before;
  for (const std::string& queue : queues) {
    const auto mask = sysfs_.read(mask_of(device_, queue));
    if (!mask || !parse_cpu_mask(*mask))
      return fail(Errc::kUnsupported,
                  device_ + ": this kernel has no RPS (CONFIG_RPS), or /sys does not show it");
    before.push_back({"rps", device_, ifindex_, {queue, *mask}});
  }
  if (queues.empty()) return fail(Errc::kNotFound, device_ + " has no receive queue in /sys");
  if (auto done = journal_.add(before); !done) return done;
  for (std::size_t i = 0; i < queues.size(); ++i) {
    const auto done = sysfs_.write(mask_of(device_, queues[i]), to_cpu_mask(cpus));
    if (done) continue;
    for (std::size_t undone = 0; undone < i; ++undone)
      (void)sysfs_.write(mask_of(device_, queues[undone]), before[undone].words[1]);
    return with_context(device_, done.error());
  }
  cpus_ = std::move(cpus);
  return {};
}

Result<BackendState> Rps::look() {
  BackendState state;
  state.cpus = cpus_;
  state.remark = "RPS spreads by a hash of the kernel's own: the table gives only the set of CPUs";
  if (!sysfs_.shows(device_, ifindex_))
    return fail(Errc::kNotFound, "INVALID_PORT_STATE: " + device_ + " is gone");
  for (const std::string& queue : receive_queues(sysfs_, device_)) {
    const auto mask = parse_cpu_mask(sysfs_.read(mask_of(device_, queue)).value_or("?"));
    if (!mask || *mask != cpus_)
      return fail(Errc::kBusy, device_ + ": somebody has changed rps_cpus of " + queue);
  }
  return state;
}

}  // namespace

std::unique_ptr<Backend> make_rps(std::string device, std::uint32_t ifindex, const Sysfs& sysfs,
                                  Journal& journal) {
  return std::make_unique<Rps>(std::move(device), ifindex, sysfs, journal);
}

Result<> restore_rps(const std::string& device, std::uint32_t ifindex, const Sysfs& sysfs,
                     Journal& journal) {
  Result<> first_failure;
  if (sysfs.shows(device, ifindex)) {
    for (const JournalLine& line : journal.of("rps", ifindex)) {
      if (line.words.size() != 2 || line.words[0].find('/') != std::string::npos) continue;
      const auto done = sysfs.write(mask_of(device, line.words[0]), line.words[1]);
      const bool is_gone = !done && done.error().code == Errc::kNotFound;
      if (!done && !is_gone && first_failure) first_failure = done;
    }
  }
  if (!first_failure) return first_failure;  // the journal keeps it
  return journal.remove("rps", ifindex);
}

}  // namespace snp::rss
