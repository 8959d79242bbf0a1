// What arrives on a control session, checked: hostile bytes in, a known message or the reason to
// end the session out.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "snp/ipc/control_protocol.h"

namespace snp::daemon {

struct AttachRequest {
  std::uint32_t pid = 0;
  std::string program;  // printable
};
struct WaitSetRequest {
  std::uint16_t wait_set = 0;
};
struct LaneRequest {
  std::uint32_t pair = 0;
  std::uint32_t side = 0;  // 0 or 1
  std::uint16_t lane = 0;  // in [1, kLanes)
};
struct CommandRequest {
  std::string_view text;  // JSON, into the given bytes
};
struct SubscribeRequest {
  std::string_view text;  // JSON, into the given bytes
};
struct VerdictRequest {
  std::string_view text;  // likewise
};
struct Malformed {
  const char* why = "";
};

using Message = std::variant<AttachRequest, WaitSetRequest, LaneRequest, CommandRequest,
                             SubscribeRequest, VerdictRequest, Malformed>;

// `fds`: how many descriptors came with it.
Message parse_message(std::span<const std::byte> bytes, std::size_t fds);

}  // namespace snp::daemon
