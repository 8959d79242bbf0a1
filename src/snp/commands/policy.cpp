// `snp policy`: what decides about offloads, and the file of rules.
#include "snp/chimney/policy.h"

#include <fmt/format.h>

#include "snp/commands/command.h"
#include "snp/commands/files.h"
#include "snp/commands/rule_limits.h"
#include "snp/commands/table.h"

namespace snp::commands {

chimney::RuleLimits rule_limits(std::uint32_t shards) {
  using settings::Setting;
  chimney::RuleLimits limits;
  std::string_view names = settings::info_of(Setting::kCongestionControl).choices;
  for (std::size_t bar = 0; bar != std::string_view::npos;) {
    bar = names.find('|');
    limits.congestion_controls.emplace_back(names.substr(0, bar));
    names.remove_prefix(bar == std::string_view::npos ? names.size() : bar + 1);
  }
  limits.ring_min = static_cast<std::uint64_t>(settings::info_of(Setting::kRingBytes).min);
  limits.ring_max = static_cast<std::uint64_t>(settings::info_of(Setting::kRingBytes).max);
  limits.shards = shards;
  return limits;
}

namespace {

using settings::Setting;

// The settings that are steps of policy, in the order of their steps.
constexpr Setting kPolicySettings[] = {
    Setting::kChimney,
    Setting::kChimneyDevices,
    Setting::kDisabledLocalPorts,
    Setting::kDisabledRemotePorts,
    Setting::kEnabledLocalPorts,
    Setting::kEnabledRemotePorts,
    Setting::kChimneyApplications,
    Setting::kChimneyPorts,
    Setting::kAutomaticBytes,
    Setting::kAutomaticCalls,
    Setting::kAutomaticEagerPercent,
    Setting::kAutomaticIdleS,
    Setting::kMaxConnections,
};

Json to_json(const chimney::Rules& rules) {
  Json rows = Json::array();
  for (const chimney::Rule& rule : rules)
    rows.push_back(Json{
        {"line", rule.line}, {"rule", rule.text}, {"action", chimney::to_string(rule.action)}});
  return rows;
}

std::string_view to_string(chimney::Prediction prediction) {
  switch (prediction) {
    case chimney::Prediction::kPays:
      return "at once";
    case chimney::Prediction::kDoesNot:
      return "when it has earned it four times over";
    case chimney::Prediction::kUnknown:
      break;
  }
  return "when it has earned it";
}

Json to_json(const LearnedReport& report) {
  Json targets = Json::array();
  for (const LearnedTarget& target : report.targets)
    targets.push_back(Json{{"target", target.name},
                           {"hand_overs", target.hand_overs},
                           {"hand_over_costs_us", target.cost_us},
                           {"message_saves_ns", target.gain_per_message_ns},
                           {"kib_saves_ns", target.gain_per_kib_ns}});
  Json origins = Json::array();
  for (const LearnedOrigin& origin : report.origins)
    origins.push_back(Json{{"origin", origin.name},
                           {"earned", origin.outcomes.earned},
                           {"of", origin.outcomes.of},
                           {"message_bytes", origin.message_bytes},
                           {"next", std::string(to_string(origin.prediction))}});
  return Json{{"targets", std::move(targets)}, {"origins", std::move(origins)}};
}

void handle_show(Service& service, const Json& /*arguments*/, const Answer& answer) {
  Json order = Json::array();
  for (const chimney::PolicyStepText& step : chimney::all_policy_steps())
    order.push_back(
        Json{{"step", std::string(step.name)}, {"question", std::string(step.question)}});
  Json values = Json::object();
  for (const Setting id : kPolicySettings)
    values[std::string(settings::info_of(id).name)] = service.settings().to_text(id);
  answer(Json{{"order", std::move(order)},
              {"settings", std::move(values)},
              {"learned", to_json(service.learned())},
              {"rules_file", service.rules_path()},
              {"rules", to_json(service.rules())}});
}

std::string render_rules(const Json& rules) {
  std::string text;
  for (const Json& rule : rules)
    text += fmt::format("{:>5}  {}\n", rule.at("line").get<std::uint64_t>(),
                        rule.at("rule").get<std::string>());
  return text;
}

std::string render_learned(const Json& learned) {
  std::string text = "\nlearned:\n";
  for (const Json& target : learned.at("targets")) {
    const auto number = [&](const char* key) { return target.at(key).get<std::uint64_t>(); };
    text +=
        fmt::format("  {:<6} a hand-over costs {} us{}; a message saves {:.1f} us, a KiB {:.1f}\n",
                    target.at("target").get<std::string>(), number("hand_over_costs_us"),
                    number("hand_overs") == 0 ? " (assumed)" : "",
                    static_cast<double>(number("message_saves_ns")) / 1000,
                    static_cast<double>(number("kib_saves_ns")) / 1000);
  }
  if (learned.at("origins").empty()) return text;
  using Align = Table::Align;
  Table table({{"ORIGIN"},
               {"EARNED", Align::kRight},
               {"OF", Align::kRight},
               {"MESSAGE", Align::kRight},
               {"THE NEXT ONE IS OFFLOADED"}});
  for (const Json& origin : learned.at("origins")) {
    const auto number = [&](const char* key) { return origin.at(key).get<std::uint64_t>(); };
    table.add_row({origin.at("origin").get<std::string>(), std::to_string(number("earned")),
                   std::to_string(number("of")),
                   number("message_bytes") == 0 ? "-" : human_bytes(number("message_bytes")),
                   origin.at("next").get<std::string>()});
  }
  return text + table.to_text();
}

std::string render_show(const Json& result) {
  std::string text = "The first step that has an answer decides:\n";
  std::size_t number = 0;
  for (const Json& step : result.at("order"))
    text += fmt::format("{:>3}. {:<15} {}\n", ++number, step.at("step").get<std::string>(),
                        step.at("question").get<std::string>());
  text += "\n";
  for (const auto& [name, value] : result.at("settings").items()) {
    const auto shown = value.get<std::string>();
    text += fmt::format("{:<23} {}\n", name, shown.empty() ? "-" : shown);
  }
  const std::string file = result.at("rules_file").get<std::string>();
  text += "\nrules" + (file.empty() ? "" : " (" + file + ")") + ":\n";
  const std::string rules = render_rules(result.at("rules"));
  text += rules.empty() ? "  none\n" : rules;
  return text + render_learned(result.at("learned"));
}

// FILE becomes what snpd must know of it.
Result<Json> prepare_load(const Json& arguments) {
  const std::string path = argument_text(arguments, "FILE");
  const auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  // Here too: a mistake is found without asking snpd, and what is too long for it never gets there.
  const auto limits =
      rule_limits(static_cast<std::uint32_t>(settings::info_of(Setting::kShards).max));
  const auto rules = chimney::parse_rules(*text, path, limits);
  if (!rules) return tl::unexpected(rules.error());
  return Json{{"FILE", Json{{"path", path}, {"text", *text}}.dump()}};
}

Result<Json> prepare_check(const Json& arguments) {
  auto prepared = prepare_load(arguments);
  if (!prepared) return prepared;
  const Json file = Json::parse(argument_text(*prepared, "FILE"));
  const auto limits =
      rule_limits(static_cast<std::uint32_t>(settings::info_of(Setting::kShards).max));
  const auto rules = chimney::parse_rules(file.at("text").get<std::string>(), "", limits);
  return Json{{"file", file.at("path")}, {"rules", to_json(*rules)}};
}

std::string render_check(const Json& result) {
  const std::size_t count = result.at("rules").size();
  return fmt::format("{}: {} rule{}, no mistake\n", result.at("file").get<std::string>(), count,
                     count == 1 ? "" : "s");
}

void handle_load(Service& service, const Json& arguments, const Answer& answer) {
  const Json file = Json::parse(argument_text(arguments, "FILE"));
  const auto path = file.at("path").get<std::string>();
  if (auto done = service.load_rules(file.at("text").get<std::string>(), path); !done)
    return answer(tl::unexpected(done.error()));
  answer(Json{
      {"file", path}, {"rules", to_json(service.rules())}, {"rules_file", service.rules_path()}});
}

std::string render_load(const Json& result) {
  const std::size_t count = result.at("rules").size();
  const std::string file = result.at("rules_file").get<std::string>();
  return fmt::format("{} rule{} in effect, {}\n", count, count == 1 ? "" : "s",
                     file.empty() ? "until this private snpd ends" : "kept in " + file);
}

constexpr Argument kFileArguments[] = {{"FILE", "the rules", true}};

}  // namespace

const CommandSpec kPolicy{
    .path = "policy",
    .help = "Show what decides about offloads: the steps in their order, settings, rules.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kPolicyShow{
    .path = "policy show",
    .help = "Show what decides about offloads: the steps in their order, settings, rules.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kPolicyCheck{
    .path = "policy check",
    .help =
        "Read a file of rules and name the line and column of its first mistake. Changes nothing.",
    .arguments = kFileArguments,
    .render = render_check,
    .prepare = prepare_check,
};

const CommandSpec kPolicyLoad{
    .path = "policy load",
    .help = "Replace the rules by those of a file, all at once; connections follow live.",
    .arguments = kFileArguments,
    .changes_things = true,
    .handle = handle_load,
    .render = render_load,
    .prepare = prepare_load,
};

}  // namespace snp::commands
