#include "snp/switch/real.h"

#include <dlfcn.h>

namespace snp::switch_ {

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): filled in before main()
constinit RealCalls RealCalls::instance{};

// Several threads may come here at once: each stores the same values.
void resolve_real_calls() noexcept {
  RealCalls& calls = RealCalls::instance;
#define SNP_RESOLVE(name) \
  calls.name = reinterpret_cast<decltype(calls.name)>(::dlsym(RTLD_NEXT, #name));
  SNP_REAL_CALLS(SNP_RESOLVE)
#undef SNP_RESOLVE
  calls.resolved.store(true, std::memory_order_release);
}

}  // namespace snp::switch_
