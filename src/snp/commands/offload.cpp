#include "snp/commands/command.h"

namespace snp::commands {
namespace {

void handle(Service& service, const Json& arguments, const Answer& answer) {
  const auto flow = argument_flow(arguments);
  if (!flow) return answer(tl::unexpected(flow.error()));
  service.offload(*flow, [answer, flow = *flow](const Result<>& done) {
    if (!done) return answer(tl::unexpected(done.error()));
    answer(Json{{"flow", to_string(flow)}, {"offload_state", "Offloaded"}});
  });
}

std::string render(const Json& result) {
  return result.at("flow").get<std::string>() + " is offloaded\n";
}

constexpr Argument kArguments[] = {{"FLOW", "LOCAL-REMOTE, as 'snp connections' shows them", true}};

}  // namespace

const CommandSpec kOffload{
    .path = "offload",
    .help = "Move a connection to the engine now. Answers when it is done.",
    .arguments = kArguments,
    .changes_things = true,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
