#include <charconv>
#include <optional>

#include "snp/commands/command.h"
#include "snp/commands/row_json.h"

namespace snp::commands {
namespace {

struct Descriptor {
  std::uint32_t pid = 0;
  int fd = -1;
};

template <class T>
bool parse_whole(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<Descriptor> parse_descriptor(std::string_view text) {
  const std::size_t colon = text.find(':');
  Descriptor descriptor;
  if (colon == std::string_view::npos || !parse_whole(text.substr(0, colon), descriptor.pid) ||
      !parse_whole(text.substr(colon + 1), descriptor.fd) || descriptor.fd < 0)
    return std::nullopt;
  return descriptor;
}

void handle(Service& service, const Json& arguments, const Answer& answer) {
  const std::string text = argument_text(arguments, "FLOW|PID:FD");
  const auto flow = parse_four_tuple(text);
  const auto descriptor = parse_descriptor(text);
  if (!flow && !descriptor)
    return answer(fail(Errc::kInvalid, "'" + text +
                                           "' is neither LOCAL-REMOTE nor PID:FD; 'snp "
                                           "connections' shows what there is"));
  for (const ConnectionRow& row : service.connections()) {
    const bool is_it =
        flow ? row.flow == *flow : row.pid == descriptor->pid && row.fd == descriptor->fd;
    if (is_it) return answer(to_json(row));
  }
  answer(fail(Errc::kNotFound, "no attached program has a connection " + text +
                                   "; 'snp connections' lists them, 'snp run' attaches a program"));
}

std::string render(const Json& result) {
  const auto text = [&](const char* key) { return result.at(key).get<std::string>(); };
  std::string out = text("local") + "-" + text("remote") + ": " + text("offload_state") + ", " +
                    text("reason") + "\n" + text("reason_text") + "\n";
  if (!text("hint").empty()) out += "hint: " + text("hint") + "\n";
  return out;
}

constexpr Argument kArguments[] = {
    {"FLOW|PID:FD", "the connection: LOCAL-REMOTE, or a descriptor of a process", true}};

}  // namespace

const CommandSpec kWhy{
    .path = "why",
    .help = "Say why a connection is where it is.",
    .arguments = kArguments,
    .changes_things = false,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
