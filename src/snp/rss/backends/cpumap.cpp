#include "snp/rss/backends/cpumap.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdarg>
#include <cstring>
#include <set>
#include <utility>

#include <linux/bpf.h>
#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "snp/base/unique_fd.h"

#include "bpf/shared/rss_hash.h"
#include "spread.skel.h"

namespace snp::rss {
namespace {

// Packets that wait for a CPU's thread. The kernel drops what is above; a bulk sender's window of
// small packets must fit.
constexpr std::uint32_t kQueuePackets = 8192;

int print_nothing(libbpf_print_level /*level*/, const char* /*format*/, va_list /*arguments*/) {
  return 0;
}

Failure explain_attach(const std::string& device, XdpMode mode, int error) {
  const std::string mode_name = mode == XdpMode::kNative ? "native" : "generic";
  if (error == EBUSY || error == EEXIST)
    return fail(Errc::kBusy, device +
                                 " has an XDP program of somebody else: take it off (`ip link "
                                 "show dev " +
                                 device + "` names it), or use rps");
  if (error == EOPNOTSUPP || error == EINVAL)
    return fail(Errc::kUnsupported, device + " cannot run " + mode_name + " XDP as it is set up");
  if (error == ENODEV) return fail(Errc::kNotFound, device + " is gone");
  return fail_errno("cannot attach snp_spread to " + device, error);
}

class Cpumap final : public Backend {
 public:
  Cpumap(std::string device, std::uint32_t ifindex, XdpMode mode, spread_bpf* programs)
      : device_(std::move(device)), ifindex_(ifindex), mode_(mode), programs_(programs) {}
  Cpumap(const Cpumap&) = delete;
  Cpumap& operator=(const Cpumap&) = delete;
  ~Cpumap() override {
    link_.reset();
    spread_bpf__destroy(programs_);
  }

  [[nodiscard]] BackendKind kind() const noexcept override { return BackendKind::kCpumap; }
  Result<> apply(const HostDistribution& wanted) override;
  Result<std::vector<std::uint64_t>> bucket_packets() override;
  Result<BackendState> look() override;
  Result<> undo() override;
  void release() override { (void)undo(); }

 private:
  [[nodiscard]] snp_rss& rss() const { return programs_->bss->snp_rss; }
  [[nodiscard]] int map() const { return ::bpf_map__fd(programs_->maps.snp_cpus); }
  Result<> open_cpus(const std::set<CpuId>& cpus);
  void close_cpus(const std::set<CpuId>& cpus);
  void write(const HostDistribution& wanted);
  Result<> attach();

  std::string device_;
  std::uint32_t ifindex_;
  XdpMode mode_;
  spread_bpf* programs_;
  UniqueFd link_;         // closing it takes the program off the device
  std::set<CpuId> open_;  // CPUs with a thread
  HostDistribution now_;
};

Result<> Cpumap::open_cpus(const std::set<CpuId>& cpus) {
  std::set<CpuId> opened;
  for (const CpuId cpu : cpus) {
    if (open_.contains(cpu)) continue;
    const bpf_cpumap_val value{kQueuePackets, {}};
    if (::bpf_map_update_elem(map(), &cpu, &value, BPF_ANY) != 0) {
      const int error = errno;
      close_cpus(opened);
      if (error == ENODEV || error == E2BIG)
        return fail(Errc::kInvalid,
                    "INVALID_DATA: there is no CPU " + std::to_string(cpu) + " in this machine");
      return fail_errno("no thread for packets on CPU " + std::to_string(cpu), error);
    }
    opened.insert(cpu);
    open_.insert(cpu);
  }
  return {};
}

void Cpumap::close_cpus(const std::set<CpuId>& cpus) {
  for (const CpuId cpu : cpus) {
    (void)::bpf_map_delete_elem(map(), &cpu);  // what waits there is still delivered
    open_.erase(cpu);
  }
}

// While packets go by: single words, each either the old or the new one. Reference 5.4 lets packets
// go to the wrong CPU for a moment.
void Cpumap::write(const HostDistribution& wanted) {
  snp_rss& shared = rss();
  const auto entries = static_cast<std::uint32_t>(wanted.table.size());
  if (wanted.key != now_.key || now_.table.empty()) {
    const ToeplitzTable key(wanted.key);
    static_assert(sizeof(shared.key) == sizeof(ToeplitzTable::Table));
    std::memcpy(shared.key, key.table().data(), sizeof(shared.key));
  }
  if (wanted.table.size() != now_.table.size()) std::ranges::fill(shared.packets, 0);
  for (std::uint32_t i = 0; i < SNP_RSS_MAX_ENTRIES; ++i)  // whatever mask the program has read
    std::atomic_ref(shared.shards[i])
        .store(wanted.table[i & (entries - 1)], std::memory_order_relaxed);
  shared.default_shard = wanted.default_cpu;
  shared.types = wanted.types;
  std::atomic_ref(shared.mask).store(entries - 1, std::memory_order_release);
}

Result<> Cpumap::attach() {
  bpf_link_create_opts options{};
  options.sz = sizeof options;
  options.flags = mode_ == XdpMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  const int fd = ::bpf_link_create(::bpf_program__fd(programs_->progs.snp_spread),
                                   static_cast<int>(ifindex_), BPF_XDP, &options);
  if (fd < 0) return explain_attach(device_, mode_, -fd);
  link_.reset(fd);
  return {};
}

Result<> Cpumap::apply(const HostDistribution& wanted) {
  if (wanted.table.empty() || !std::has_single_bit(wanted.table.size()) ||
      wanted.table.size() > SNP_RSS_MAX_ENTRIES)
    return fail(Errc::kInvalid, "INVALID_PARAMETER: a table has a power of two of entries, up to " +
                                    std::to_string(SNP_RSS_MAX_ENTRIES));
  std::set<CpuId> cpus(wanted.table.begin(), wanted.table.end());
  cpus.insert(wanted.default_cpu);
  const std::set<CpuId> before = open_;
  if (auto done = open_cpus(cpus); !done) return with_context(device_, done.error());
  if (!link_.is_open()) {
    write(wanted);
    if (auto done = attach(); !done) {
      close_cpus(cpus);
      return done;
    }
  } else {
    write(wanted);
  }
  now_ = wanted;
  std::set<CpuId> unused;
  std::ranges::set_difference(before, cpus, std::inserter(unused, unused.end()));
  close_cpus(unused);
  return {};
}

Result<std::vector<std::uint64_t>> Cpumap::bucket_packets() {
  std::vector<std::uint64_t> packets;
  for (std::size_t bucket = 0; bucket < now_.table.size(); ++bucket)
    packets.push_back(
        std::atomic_ref<unsigned long long>(rss().packets[bucket]).load(std::memory_order_relaxed));
  return packets;
}

Result<BackendState> Cpumap::look() {
  // A link outlives its device: then it names none.
  bpf_link_info info{};
  std::uint32_t length = sizeof info;
  if (!link_.is_open() || ::bpf_obj_get_info_by_fd(link_.get(), &info, &length) != 0 ||
      info.xdp.ifindex != ifindex_)
    return fail(Errc::kNotFound, device_ + " is gone, or its XDP program was taken off");
  BackendState state;
  state.table = now_.table;
  state.cpus.assign(open_.begin(), open_.end());
  state.remark = mode_ == XdpMode::kNative ? "native XDP" : "generic XDP";
  return state;
}

Result<> Cpumap::undo() {
  link_.reset();
  close_cpus(std::set<CpuId>(open_));
  now_ = {};
  return {};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_cpumap(std::string device, std::uint32_t ifindex,
                                             XdpMode mode) {
  ::libbpf_set_print(print_nothing);
  spread_bpf* programs = spread_bpf__open();
  if (programs == nullptr) return fail_errno("cannot open the program snp_spread");
  const int cpus = ::libbpf_num_possible_cpus();  // the largest number, plus one
  ::bpf_map__set_max_entries(programs->maps.snp_cpus,
                             cpus > 0 ? static_cast<std::uint32_t>(cpus) : 1);
  // Frames in several pieces only natively: in the generic way, Linux 6.18 copies them into a new
  // buffer without the length of the Ethernet header, which the CPU map then does not take off.
  if (mode == XdpMode::kNative)
    ::bpf_program__set_flags(programs->progs.snp_spread, BPF_F_XDP_HAS_FRAGS);
  if (const int error = -spread_bpf__load(programs); error != 0) {
    spread_bpf__destroy(programs);
    if (error == EPERM || error == EACCES)
      return fail(Errc::kDenied, "loading XDP programs needs CAP_BPF and CAP_NET_ADMIN");
    return fail(Errc::kUnsupported,
                std::string("this kernel does not load XDP programs with a CPU map: ") +
                    ::strerrordesc_np(error));
  }
  return std::make_unique<Cpumap>(std::move(device), ifindex, mode, programs);
}

}  // namespace snp::rss
