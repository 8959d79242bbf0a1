#include "snp/daemon/messages.h"

#include <algorithm>
#include <cstring>

#include "snp/ipc/arena.h"
#include "snp/ipc/pair.h"

namespace snp::daemon {
namespace {

template <class T>
bool read_exactly(std::span<const std::byte> bytes, T& out) {
  if (bytes.size() != sizeof(T)) return false;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return true;
}

std::string printable(std::span<const char> text) {
  std::string out(text.begin(), std::find(text.begin(), text.end(), '\0'));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < 32 || c == 127; }, '?');
  return out;
}

Message parse_attach(std::span<const std::byte> bytes, std::size_t fds) {
  ipc::Attach attach;
  if (!read_exactly(bytes, attach) || fds != 0) return Malformed{"attach of a wrong length"};
  if (attach.arena_version != ipc::kArenaVersion)
    return Malformed{"libsnp.so is of another version than snpd; restart the program"};
  return AttachRequest{attach.pid, printable(attach.program)};
}

Message parse_wait_set(std::span<const std::byte> bytes, std::size_t fds) {
  ipc::WaitSetMessage message;
  if (!read_exactly(bytes, message) || fds != 1) return Malformed{"wait set of a wrong length"};
  if (message.wait_set == 0 || message.wait_set >= ipc::kWaitSets)
    return Malformed{"wait set out of range"};
  return WaitSetRequest{message.wait_set};
}

Message parse_lane(std::span<const std::byte> bytes, std::size_t fds) {
  ipc::LaneMessage message;
  if (!read_exactly(bytes, message) || fds != 1) return Malformed{"lane of a wrong length"};
  if (message.lane == 0 || message.lane >= ipc::kLanes || message.side > 1)
    return Malformed{"lane out of range"};
  return LaneRequest{message.pair, message.side, message.lane};
}

std::string_view text_behind(std::span<const std::byte> bytes) {
  const auto text = bytes.subspan(sizeof(ipc::MessageHeader));
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

}  // namespace

Message parse_message(std::span<const std::byte> bytes, std::size_t fds) {
  ipc::MessageHeader header;
  if (bytes.size() < sizeof header) return Malformed{"message without a header"};
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != ipc::kProtocolMagic) return Malformed{"wrong magic number"};
  switch (header.kind) {
    case ipc::MessageKind::kAttach:
      return parse_attach(bytes, fds);
    case ipc::MessageKind::kWaitSet:
      return parse_wait_set(bytes, fds);
    case ipc::MessageKind::kLane:
      return parse_lane(bytes, fds);
    case ipc::MessageKind::kCommand:
      if (fds != 0) return Malformed{"command with descriptors"};
      return CommandRequest{text_behind(bytes)};
    case ipc::MessageKind::kSubscribe:
      if (fds != 0) return Malformed{"subscription with descriptors"};
      return SubscribeRequest{text_behind(bytes)};
    case ipc::MessageKind::kVerdict:
      if (fds != 0) return Malformed{"verdict with descriptors"};
      return VerdictRequest{text_behind(bytes)};
    default:
      return Malformed{"message of an unknown kind"};
  }
}

}  // namespace snp::daemon
