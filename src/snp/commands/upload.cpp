#include "snp/commands/command.h"

namespace snp::commands {
namespace {

void handle(Service& service, const Json& arguments, const Answer& answer) {
  const bool is_all = arguments.value("--all", false);
  if (is_all == arguments.contains("FLOW"))
    return answer(fail(Errc::kInvalid, "upload: give either FLOW or --all"));
  if (is_all) {
    service.upload_all([answer](const Result<std::uint32_t>& done) {
      if (!done) return answer(tl::unexpected(done.error()));
      answer(Json{{"uploaded", *done}});
    });
    return;
  }
  const auto flow = argument_flow(arguments);
  if (!flow) return answer(tl::unexpected(flow.error()));
  service.upload(*flow, [answer, flow = *flow](const Result<>& done) {
    if (!done) return answer(tl::unexpected(done.error()));
    answer(Json{{"flow", to_string(flow)}, {"offload_state", "InHost"}});
  });
}

std::string render(const Json& result) {
  if (result.contains("uploaded"))
    return std::to_string(result.at("uploaded").get<std::uint64_t>()) + " connections uploaded\n";
  return result.at("flow").get<std::string>() + " is in the host\n";
}

constexpr Argument kArguments[] = {
    {"FLOW", "LOCAL-REMOTE, as 'snp connections' shows them", false},
    {"--all", "every offloaded connection", false},
};

}  // namespace

const CommandSpec kUpload{
    .path = "upload",
    .help = "Bring a connection, or all of them, home to the host stack. Answers when it is done.",
    .arguments = kArguments,
    .changes_things = true,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
