// One step of a loop that waits for another thread or a device without sleeping: the other
// hyper-thread of the core gets on meanwhile, and the compiler reads memory again. Any thread.
#pragma once

#include <atomic>

namespace snp {

inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace snp
