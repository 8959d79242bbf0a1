#include "snp/cli/events.h"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "snp/cli/app.h"
#include "snp/cli/client.h"
#include "snp/ipc/control_protocol.h"
#include "snp/ipc/message_socket.h"

namespace snp::cli {
namespace {

using commands::Json;

struct Wishes {
  bool is_json = false;
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
};

bool read_wishes(int count, char** arguments, Wishes& out) {
  for (int i = 0; i < count; ++i) {
    const std::string_view word = arguments[i];
    if (word == "--json") {
      out.is_json = true;
      continue;
    }
    if (word != "--count" || i + 1 == count) return false;
    const std::string_view number = arguments[++i];
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), out.count);
    if (error != std::errc{} || end != number.data() + number.size()) return false;
  }
  return true;
}

std::string line_of(const Json& event) {
  const auto text = [&](const char* key) { return event.at(key).get<std::string>(); };
  const auto number = [&](const char* key) { return event.value(key, std::uint64_t{0}); };
  std::string line = fmt::format("{} {:<9} {}-{}  {}[{}]", text("time"), text("event"),
                                 text("local"), text("remote"), text("program"), number("pid"));
  if (text("event") != "declined") line += "  " + text("target");
  if (text("event") != "closed") {
    line += "  by " + text("by");
    if (text("reason") != "offloaded") line += ", " + text("reason");
    if (!text("reason_detail").empty()) line += ": " + text("reason_detail");
  }
  if (number("quiet_us") != 0) line += fmt::format("  quiet {} us", number("quiet_us"));
  if (number("lost") != 0) line += fmt::format("  ({} lost before)", number("lost"));
  return line;
}

Result<Json> subscribe(int socket) {
  const std::string text = Json{{"name", "snp events"}}.dump();
  const ipc::MessageHeader header{ipc::kProtocolMagic, ipc::MessageKind::kSubscribe, 0};
  std::vector<std::byte> message(sizeof header + text.size());
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + sizeof header, text.data(), text.size());
  if (auto sent = ipc::send_message(socket, message); !sent) return tl::unexpected(sent.error());
  return receive_result(socket);
}

// The text of the next event; an error: there will be none.
Result<std::string> receive_event(int socket, std::vector<std::byte>& buffer) {
  const auto got = ipc::receive_message(socket, buffer);
  if (!got) return tl::unexpected(got.error());
  ipc::MessageHeader header;
  if (got->length < sizeof header) return fail(Errc::kNotFound, "snpd has ended");
  std::memcpy(&header, buffer.data(), sizeof header);
  if (header.kind != ipc::MessageKind::kEvent)
    return fail(Errc::kProtocol, "snpd ended the session; see its log");
  return std::string(reinterpret_cast<const char*>(buffer.data()) + sizeof header,
                     got->length - sizeof header);
}

int failed(const Error& error) {
  std::fprintf(stderr, "snp: %s\n", error.message.c_str());
  return kFailed;
}

}  // namespace

int run_events(int count, char** arguments) {
  Wishes wishes;
  if (!read_wishes(count, arguments, wishes)) {
    std::fprintf(stderr, "snp: snp events [--json] [--count NUMBER]\n");
    return kUsage;
  }
  const auto socket = connect_snpd();
  if (!socket) return failed(socket.error());
  if (const auto listening = subscribe(socket->get()); !listening) return failed(listening.error());
  std::vector<std::byte> buffer(ipc::kMaxMessage);
  for (std::uint64_t i = 0; i < wishes.count; ++i) {
    const auto text = receive_event(socket->get(), buffer);
    if (!text) return failed(text.error());
    const Json event = Json::parse(*text, nullptr, false);
    if (event.is_discarded()) return failed({Errc::kProtocol, 0, "snpd's event is no JSON"});
    const std::string line = wishes.is_json ? *text : line_of(event);
    if (std::printf("%s\n", line.c_str()) < 0 || std::fflush(stdout) != 0) return kFailed;
  }
  return kDone;
}

}  // namespace snp::cli
