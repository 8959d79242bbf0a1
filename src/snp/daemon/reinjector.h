// Gives single forged frames to the host stack as if a device had received them: a marked packet
// socket, turned round by the steering's egress program (design section 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::daemon {

class Reinjector {
 public:
  static Result<Reinjector> open();
  [[nodiscard]] bool give(std::uint32_t ifindex, std::span<const std::byte> frame) const noexcept;

 private:
  explicit Reinjector(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace snp::daemon
