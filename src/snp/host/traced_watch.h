// A watch of what only the kernel itself knows; see kernel_calls.h. It has a descriptor from the
// beginning, whether it sees or is blind.
#pragma once

#include <memory>

#include "snp/base/unique_fd.h"
#include "snp/host/features.h"
#include "snp/host/kernel_calls.h"

namespace snp::host {

class TracedWatch : public FeatureWatch {
 public:
  TracedWatch(UniqueFd epoll, const OpenCalls& open_calls);

  [[nodiscard]] int fd() const noexcept override { return epoll_.get(); }
  bool drain() override { return calls_ != nullptr && calls_->drain(); }
  [[nodiscard]] bool is_blind() const noexcept override { return calls_ == nullptr; }

 private:
  UniqueFd epoll_;
  std::unique_ptr<KernelCalls> calls_;  // nullptr: blind
};

}  // namespace snp::host
