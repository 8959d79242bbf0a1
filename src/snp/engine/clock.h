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

}  // namespace snp::engine
