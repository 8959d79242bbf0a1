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

Json to_json(const PolicyAnswer& answer) {
  const chimney::ReasonText& reason = chimney::text_of(answer.reason);
  const chimney::PolicyStepText& step = chimney::text_of(answer.step);
  const bool is_yes = answer.reason == chimney::Reason::kOffloaded;
  return Json{{"verdict", is_yes ? "offload" : "host"},
              {"reason", is_yes ? "" : std::string(reason.name)},
              {"reason_text", is_yes ? "" : std::string(reason.sentence)},
              {"reason_detail", answer.detail},
              {"hint", is_yes ? "" : std::string(reason.hint)},
              {"step", std::string(step.name)},
              {"question", std::string(step.question)},
              {"rule_line", answer.rule_line},
              {"rule", answer.rule}};
}

// A connection that does not exist (here, yet).
void answer_hypothetical(Service& service, const FourTuple& flow, const Json& arguments,
                         const Answer& answer) {
  PolicyQuestion question;
  question.flow = flow;
  question.program = argument_text(arguments, "--program");
  question.cgroup = argument_text(arguments, "--cgroup");
  if (const std::string uid = argument_text(arguments, "--uid"); !uid.empty()) {
    std::uint32_t number = 0;
    if (!parse_whole(uid, number))
      return answer(fail(Errc::kInvalid, "--uid " + uid + ": give a number"));
    question.uid = number;
  }
  answer(Json{{"flow", to_string(flow)},
              {"exists", false},
              {"is_program_known", !question.program.empty()},
              {"policy", to_json(service.judge(question))}});
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
    if (!is_it) continue;
    Json json = to_json(row);
    PolicyQuestion question;
    question.flow = row.flow;
    json["policy"] = to_json(service.judge(question));
    return answer(std::move(json));
  }
  if (flow) return answer_hypothetical(service, *flow, arguments, answer);
  answer(fail(Errc::kNotFound, "no attached program has a connection " + text +
                                   "; 'snp connections' lists them, 'snp run' attaches a program"));
}

// "A firewall rule may match the connection: nftables: table inet t, chain input."
std::string sentence_of(const Json& json) {
  std::string sentence = json.at("reason_text").get<std::string>();
  const std::string detail = json.at("reason_detail").get<std::string>();
  if (detail.empty()) return sentence;
  if (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
  return sentence + ": " + detail + ".";
}

std::string render_policy(const Json& policy) {
  const auto text = [&](const char* key) { return policy.at(key).get<std::string>(); };
  const bool is_yes = text("verdict") == "offload";
  std::string out = "policy: " + text("verdict");
  if (!is_yes) out += ", " + text("reason");
  out += "; step '" + text("step") + "': " + text("question") + "\n";
  if (!is_yes)
    out += sentence_of(policy) + "\n";
  else if (!text("reason_detail").empty())
    out += text("reason_detail") + "\n";
  if (const auto line = policy.at("rule_line").get<std::uint64_t>(); line > 0)
    out += "rule, line " + std::to_string(line) + ": " + text("rule") + "\n";
  if (!text("hint").empty()) out += "hint: " + text("hint") + "\n";
  return out;
}

std::string render(const Json& result) {
  const auto text = [&](const char* key) { return result.at(key).get<std::string>(); };
  if (result.contains("exists")) {
    std::string out = text("flow") +
                      ": no attached program has this connection; if there were one:\n" +
                      render_policy(result.at("policy"));
    if (!result.at("is_program_known").get<bool>())
      out += "Conditions on its program do not hold here; give --program, --uid, --cgroup.\n";
    return out;
  }
  std::string out = text("local") + "-" + text("remote") + ": " + text("offload_state") + ", " +
                    text("reason") + "\n" + sentence_of(result) + "\n";
  if (!text("hint").empty()) out += "hint: " + text("hint") + "\n";
  if (const auto pid = result.at("peer_pid").get<std::uint64_t>(); pid != 0)
    out += "the other end: " + text("peer_program") + ", pid " + std::to_string(pid) + "\n";
  return out + render_policy(result.at("policy"));
}

constexpr Argument kArguments[] = {
    {"FLOW|PID:FD",
     "the connection: LOCAL-REMOTE (it need not exist), or a descriptor of a process", true},
    {"--program PATH", "of a connection that does not exist: its program", false},
    {"--uid UID", "its user", false},
    {"--cgroup PATH", "its cgroup", false},
};

}  // namespace

const CommandSpec kWhy{
    .path = "why",
    .help =
        "Say why a connection is where it is, or what would become of one: which step, which rule.",
    .arguments = kArguments,
    .changes_things = false,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
