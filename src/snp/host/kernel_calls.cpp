#include "snp/host/kernel_calls.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <bpf/libbpf.h>

#include "watch.skel.h"

namespace snp::host {
namespace {

struct Row {
  KernelCall call;
  std::string_view program;
};
constexpr std::array kPrograms = {
    Row{KernelCall::kTableReplaced, "snp_rules_freed"},
};
struct Destroy {
  void operator()(watch_bpf* programs) const noexcept { watch_bpf__destroy(programs); }
  void operator()(ring_buffer* ring) const noexcept { ring_buffer__free(ring); }
};
using ProgramsPtr = std::unique_ptr<watch_bpf, Destroy>;
using RingPtr = std::unique_ptr<ring_buffer, Destroy>;

int take_nothing(void* /*context*/, void* /*data*/, std::size_t /*size*/) {
  return 0;
}

Failure failed(const std::string& what, int error) {
  return fail_errno("cannot watch calls of the kernel, " + what, error);
}

class TracedCalls final : public KernelCalls {
 public:
  TracedCalls(ProgramsPtr programs, RingPtr ring) noexcept
      : programs_(std::move(programs)), ring_(std::move(ring)) {}

  [[nodiscard]] int fd() const noexcept override { return ring_buffer__epoll_fd(ring_.get()); }
  bool drain() override { return ring_buffer__consume(ring_.get()) != 0; }

 private:
  ProgramsPtr programs_;  // they go with the last descriptor, so with this process at the latest
  RingPtr ring_;
};

void load_only(watch_bpf& programs, KernelCall call) {
  for (bpf_program* program = bpf_object__next_program(programs.obj, nullptr); program != nullptr;
       program = bpf_object__next_program(programs.obj, program)) {
    const std::string_view name = bpf_program__name(program);
    const bool is_wanted = std::any_of(kPrograms.begin(), kPrograms.end(), [&](const Row& row) {
      return row.call == call && row.program == name;
    });
    bpf_program__set_autoload(program, is_wanted);
  }
}

}  // namespace

Result<std::unique_ptr<KernelCalls>> KernelCalls::open(KernelCall call) {
  if (call == KernelCall::kTableReplaced && libbpf_num_possible_cpus() < 2)
    return fail(Errc::kUnsupported, "with one CPU rules have no counters of their own");
  libbpf_set_print(nullptr);  // our errors say in one line what it would print in twenty
  ProgramsPtr programs(watch_bpf__open());
  if (programs == nullptr) return failed("open", errno);
  load_only(*programs, call);
  if (const int error = watch_bpf__load(programs.get()); error != 0) return failed("load", -error);
  if (const int error = watch_bpf__attach(programs.get()); error != 0)
    return failed("attach", -error);
  RingPtr ring(
      ring_buffer__new(bpf_map__fd(programs->maps.snp_calls), take_nothing, nullptr, nullptr));
  if (ring == nullptr) return failed("ring", errno);
  return std::make_unique<TracedCalls>(std::move(programs), std::move(ring));
}

OpenCalls calls_of(KernelCall call) {
  return [call] { return KernelCalls::open(call); };
}

}  // namespace snp::host
