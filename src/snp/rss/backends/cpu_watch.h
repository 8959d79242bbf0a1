// Hears of CPUs that come and go (the kernel's uevents). Control thread.
#pragma once

#include <string_view>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::rss {

class CpuWatch {
 public:
  // kUnsupported: this network namespace does not hear the kernel's events; look from time to time.
  static Result<CpuWatch> open();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Takes all that has come. True: a CPU came or went, or events were lost.
  bool drain();

 private:
  UniqueFd fd_;
};

// "offline@/devices/system/cpu/cpu3", and more behind a zero.
bool is_about_cpus(std::string_view event) noexcept;

}  // namespace snp::rss
