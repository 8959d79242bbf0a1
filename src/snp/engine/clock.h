// The clock that shards and the daemon read: CLOCK_MONOTONIC.
#pragma once

#include <time.h>

#include "snp/base/time.h"

namespace snp::engine {

inline Instant monotonic_now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return Instant(seconds(ts.tv_sec) + Duration(ts.tv_nsec));
}

// The CPU that the calling thread has had; only differences mean something.
inline Instant thread_cpu_now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return Instant(seconds(ts.tv_sec) + Duration(ts.tv_nsec));
}

}  // namespace snp::engine
