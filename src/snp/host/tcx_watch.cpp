// Programs of other owners at devices' tcx hooks (Linux 6.6). The kernel tells nobody when one is
// attached or detached, and has no trace point there: this watch is blind.
#include <array>
#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>

#include <bpf/bpf.h>

#include "snp/base/unique_fd.h"
#include "snp/host/features.h"
#include "snp/host/links.h"
#include "snp/host/program_names.h"

namespace snp::host {
namespace {

struct Hook {
  bpf_attach_type type;  // of linux/bpf.h in Linux 6.6
  const char* name;
};
constexpr std::array kHooks = {Hook{static_cast<bpf_attach_type>(46), "ingress"},
                               Hook{static_cast<bpf_attach_type>(47), "egress"}};

struct Programs {
  std::array<std::uint32_t, 64> ids{};  // BPF_MPROG_MAX
  std::uint32_t count = static_cast<std::uint32_t>(ids.size());
};

// Errno; 0: done.
int ask(std::uint32_t ifindex, const Hook& hook, Programs& out) {
  std::uint32_t flags = 0;
  const bool is_done = ::bpf_prog_query(static_cast<int>(ifindex), hook.type, 0, &flags,
                                        out.ids.data(), &out.count) == 0;
  return is_done ? 0 : errno;
}

Feature on_device(const std::string& device, std::string what) {
  return {chimney::Reason::kDeviceProgram, std::move(what),
          [device](const FlowView& view) { return view.device.empty() || view.device == device; }};
}

class TcxWatch final : public FeatureWatch {
 public:
  explicit TcxWatch(UniqueFd never) : never_(std::move(never)) {}

  [[nodiscard]] int fd() const noexcept override { return never_.get(); }
  bool drain() override { return false; }
  [[nodiscard]] bool is_blind() const noexcept override { return true; }
  Result<Features> look() override;

 private:
  UniqueFd never_;  // readable
};

Result<Features> TcxWatch::look() {
  const auto links = list_links();
  if (!links) return Failure(links.error());
  Features features;
  for (const LinkDetails& link : *links)
    for (const Hook& hook : kHooks) {
      Programs programs;
      const int error = ask(link.ifindex, hook, programs);
      if (error == ENODEV) continue;  // gone by now
      if (error != 0) return fail_errno("tcx programs of " + link.name, error);
      for (std::uint32_t i = 0; i < programs.count; ++i)
        if (const std::string name = name_of_stranger(programs.ids[i]); !name.empty())
          features.push_back(on_device(
              link.name, "device " + link.name + ", tcx " + hook.name + " program " + name));
    }
  return features;
}

}  // namespace

Result<WatchPtr> watch_tcx() {
  constexpr std::uint32_t kLoopback = 1;
  Programs programs;
  if (ask(kLoopback, kHooks[0], programs) == EINVAL)
    return fail(Errc::kUnsupported, "this kernel has no tcx");
  UniqueFd never(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!never.is_open()) return fail_errno("cannot make an eventfd");
  return std::make_unique<TcxWatch>(std::move(never));
}

}  // namespace snp::host
