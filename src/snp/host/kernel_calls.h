// Hears of what happens in the kernel and is announced to nobody, by small BPF programs at its
// trace points (bpf/watch.bpf.c). It may say so when it was something else. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "snp/base/result.h"

namespace snp::host {

enum class KernelCall : std::uint8_t {
  kTableReplaced,  // of iptables
};

class KernelCalls {
 public:
  virtual ~KernelCalls() = default;

  // Fails where the kernel has no type information or another trace point.
  static Result<std::unique_ptr<KernelCalls>> open(KernelCall call);

  [[nodiscard]] virtual int fd() const noexcept = 0;  // readable: it has happened
  // Takes all that has come. True: something has.
  virtual bool drain() = 0;
};

using OpenCalls = std::function<Result<std::unique_ptr<KernelCalls>>()>;
OpenCalls calls_of(KernelCall call);

}  // namespace snp::host
