#include "snp/chimney/policy.h"

#include <algorithm>
#include <array>

#include "snp/base/assert.h"

namespace snp::chimney {
namespace {

using What = Condition::What;

// --- rules ---

bool matches_name(const std::string& pattern, std::string_view name) {
  if (name.empty()) return false;
  if (pattern.back() != '*') return name == pattern;
  return name.substr(0, pattern.size() - 1) ==
         std::string_view(pattern).substr(0, pattern.size() - 1);
}

bool is_below(const std::string& group, std::string_view cgroup) {
  if (cgroup.substr(0, group.size()) != group) return false;
  return cgroup.size() == group.size() || group.back() == '/' || cgroup[group.size()] == '/';
}

template <class Values, class Test>
bool any(const Values& values, const Test& test) {
  return std::any_of(values.begin(), values.end(), test);
}

// A name without a slash is the program's, as `snp connections` shows it, or the last part of its
// path.
bool matches_program(const std::string& pattern, const Facts& facts) {
  if (pattern.front() == '/') return matches_name(pattern, facts.program_path);
  const std::string_view path = facts.program_path;
  const std::size_t slash = path.rfind('/');
  return matches_name(pattern, facts.program_name) ||
         matches_name(pattern, slash == std::string_view::npos ? path : path.substr(slash + 1));
}

bool is_known(What what, const Facts& facts) {
  switch (what) {
    case What::kProgram:
      return !facts.program_path.empty() || !facts.program_name.empty();
    case What::kUid:
      return facts.uid.has_value();
    case What::kCgroup:
      return !facts.cgroup.empty();
    case What::kInterface:
      return !facts.interface.empty();
    default:
      return true;
  }
}

bool has_address(const Condition& condition, const IpAddress& address) {
  return any(condition.nets, [&](const AddressPrefix& net) { return net.contains(address); });
}

bool has_number(const Condition& condition, std::uint64_t number) {
  return any(condition.numbers, [&](const Range& range) { return range.contains(number); });
}

bool is_met(const Condition& condition, const Facts& facts) {
  const Endpoint& local = facts.flow.local;
  const Endpoint& remote = facts.flow.remote;
  switch (condition.what) {
    case What::kAll:
      return true;
    case What::kProgram:
      return any(condition.names, [&](const auto& name) { return matches_program(name, facts); });
    case What::kUid:
      return has_number(condition, *facts.uid);
    case What::kCgroup:
      return any(condition.names, [&](const auto& name) { return is_below(name, facts.cgroup); });
    case What::kInterface:
      return any(condition.names,
                 [&](const auto& name) { return matches_name(name, facts.interface); });
    case What::kLocalNet:
      return has_address(condition, local.address);
    case What::kRemoteNet:
      return has_address(condition, remote.address);
    case What::kNet:
      return has_address(condition, local.address) || has_address(condition, remote.address);
    case What::kLocalPort:
      return has_number(condition, local.port);
    case What::kRemotePort:
      return has_number(condition, remote.port);
    case What::kPort:
      break;
  }
  return has_number(condition, local.port) || has_number(condition, remote.port);
}

bool holds(const Condition& condition, const Facts& facts) {
  return is_known(condition.what, facts) && is_met(condition, facts) != condition.is_negated;
}

// --- the steps: an answer, or nothing when the next one is to be asked ---

using Answer = std::optional<Reason>;

bool is_listed(const std::vector<std::uint16_t>& ports, std::uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

Answer ask_mode(const Policy& policy, const Facts& /*facts*/, const Rule* /*rule*/) {
  if (policy.mode == Mode::kDisabled) return Reason::kChimneyDisabled;
  return {};
}

Answer ask_device(const Policy& policy, const Facts& facts, const Rule* /*rule*/) {
  for (const DeviceSwitch& device : policy.devices) {
    if (device.name != facts.interface) continue;
    const bool is_on = facts.flow.remote.address.is_v4() ? device.is_ipv4_on : device.is_ipv6_on;
    if (!is_on) return Reason::kDeviceDisabled;
    return {};
  }
  return {};
}

Answer ask_coexistence(const Policy& /*policy*/, const Facts& facts, const Rule* /*rule*/) {
  if (facts.incompatible != Reason::kOffloaded) return facts.incompatible;
  return {};
}

Answer ask_connection(const Policy& /*policy*/, const Facts& facts, const Rule* /*rule*/) {
  if (facts.cannot_move != Reason::kOffloaded) return facts.cannot_move;
  return {};
}

Answer ask_disabled_ports(const Policy& policy, const Facts& facts, const Rule* /*rule*/) {
  if (is_listed(policy.disabled_local, facts.flow.local.port) ||
      is_listed(policy.disabled_remote, facts.flow.remote.port))
    return Reason::kDisabledPort;
  return {};
}

Answer ask_enabled_ports(const Policy& policy, const Facts& facts, const Rule* /*rule*/) {
  if (policy.enabled_local.empty() && policy.enabled_remote.empty()) return {};
  if (is_listed(policy.enabled_local, facts.flow.local.port) ||
      is_listed(policy.enabled_remote, facts.flow.remote.port))
    return {};
  return Reason::kPortNotEnabled;
}

Answer ask_applications(const Policy& policy, const Facts& facts, const Rule* /*rule*/) {
  bool is_any_enabled = false;
  for (const Application& application : policy.applications) {
    is_any_enabled |= application.is_enabled;
    if (!any(application.paths, [&](const auto& path) { return path == facts.program_path; }))
      continue;
    if (!application.is_enabled) return Reason::kApplicationTable;
    return {};
  }
  if (is_any_enabled) return Reason::kApplicationTable;
  return {};
}

Answer ask_port_pairs(const Policy& policy, const Facts& facts, const Rule* /*rule*/) {
  if (policy.port_pairs.empty()) return {};
  const auto fits = [&](const PortPairFilter& pair) {
    return pair.local.value_or(facts.flow.local.port) == facts.flow.local.port &&
           pair.remote.value_or(facts.flow.remote.port) == facts.flow.remote.port;
  };
  if (any(policy.port_pairs, fits)) return {};
  return Reason::kPortTable;
}

Answer ask_rules(const Policy& /*policy*/, const Facts& /*facts*/, const Rule* rule) {
  if (rule != nullptr && rule->action == RuleAction::kHost) return Reason::kPolicy;
  return {};
}

// Where earlier connections were not worth it, one has to have carried so many times its price.
constexpr std::uint64_t kDoubt = 4;

bool is_eager(const Policy& policy, const Rule* rule) {
  return rule != nullptr ? rule->action == RuleAction::kOffload : policy.mode == Mode::kEnabled;
}

Answer ask_worth(const Policy& policy, const Facts& facts, const Rule* rule) {
  if (is_eager(policy, rule) || facts.is_wanted) return {};
  if (policy.automatic_bytes == 0 && policy.automatic_calls == 0) return Reason::kNotAskedYet;
  if (facts.prediction == Prediction::kPays) return {};
  const bool has_moved = policy.automatic_bytes != 0 && facts.bytes >= policy.automatic_bytes;
  const bool has_called = policy.automatic_calls != 0 && facts.calls >= policy.automatic_calls;
  if (!has_moved && !has_called) return Reason::kNotAskedYet;
  const std::uint64_t doubt = facts.prediction == Prediction::kDoesNot ? kDoubt : 1;
  if (facts.gain_us < facts.cost_us * doubt) return Reason::kNotEarned;
  return {};
}

std::string detail_of(PolicyStep step, const Policy& policy, const Facts& facts, const Rule* rule) {
  if (step == PolicyStep::kCoexistence) return facts.feature;
  if (step == PolicyStep::kVeto) return facts.veto.value_or("");
  return step == PolicyStep::kWorth && !is_eager(policy, rule) ? facts.history : std::string();
}

Answer ask_room(const Policy& /*policy*/, const Facts& facts, const Rule* /*rule*/) {
  if (!facts.has_room) return Reason::kTargetFull;
  return {};
}

Answer ask_veto(const Policy& /*policy*/, const Facts& facts, const Rule* /*rule*/) {
  if (facts.veto) return Reason::kVetoed;
  return {};
}

struct StepRow {
  PolicyStepText text;
  Answer (*ask)(const Policy& policy, const Facts& facts, const Rule* rule);
};

constexpr StepRow kSteps[] = {
    {{PolicyStep::kSwitchedOff, "mode", "Is the chimney on?"}, ask_mode},
    {{PolicyStep::kDevice, "device", "Is the chimney on for its device?"}, ask_device},
    {{PolicyStep::kCoexistence, "coexistence", "Does an active feature exclude it?"},
     ask_coexistence},
    {{PolicyStep::kConnection, "connection", "Can the connection move?"}, ask_connection},
    {{PolicyStep::kDisabledPorts, "disabled-ports", "Is a port of it disabled?"},
     ask_disabled_ports},
    {{PolicyStep::kEnabledPorts, "enabled-ports", "Is a port of it enabled, if any is?"},
     ask_enabled_ports},
    {{PolicyStep::kApplications, "applications", "What says the table of applications?"},
     ask_applications},
    {{PolicyStep::kPortPairs, "ports", "What says the table of ports?"}, ask_port_pairs},
    {{PolicyStep::kRules, "rules", "What says the first rule that matches?"}, ask_rules},
    {{PolicyStep::kWorth, "worth", "Is it to be offloaded at once, or has it proved worth it?"},
     ask_worth},
    {{PolicyStep::kRoom, "room", "Has the target room?"}, ask_room},
    {{PolicyStep::kVeto, "veto", "Does a client refuse it?"}, ask_veto},
};
static_assert(std::size(kSteps) == kPolicySteps);

constexpr auto kStepTexts = [] {
  std::array<PolicyStepText, kPolicySteps> texts{};
  for (std::size_t i = 0; i < kPolicySteps; ++i)
    texts[i] = kSteps[i].text;
  return texts;
}();

}  // namespace

const PolicyStepText& text_of(PolicyStep step) noexcept {
  SNP_ASSERT(static_cast<std::size_t>(step) < kPolicySteps);
  return kStepTexts[static_cast<std::size_t>(step)];
}

std::span<const PolicyStepText> all_policy_steps() noexcept {
  return kStepTexts;
}

bool Policy::asks_for_programs() const noexcept {
  return !applications.empty() || any(rules, [](const Rule& rule) {
    return any(rule.conditions, [](const Condition& condition) {
      return condition.what == What::kProgram || condition.what == What::kUid ||
             condition.what == What::kCgroup;
    });
  });
}

bool Policy::asks_for_interfaces() const noexcept {
  return !devices.empty() || any(rules, [](const Rule& rule) {
    return any(rule.conditions,
               [](const Condition& condition) { return condition.what == What::kInterface; });
  });
}

bool Policy::has_eager_rules() const noexcept {
  return any(rules, [](const Rule& rule) { return rule.action == RuleAction::kOffload; });
}

const Rule* find_rule(const Rules& rules, const Facts& facts) noexcept {
  for (const Rule& rule : rules)
    if (std::all_of(rule.conditions.begin(), rule.conditions.end(),
                    [&](const Condition& condition) { return holds(condition, facts); }))
      return &rule;
  return nullptr;
}

Verdict decide(const Policy& policy, const Facts& facts) noexcept {
  const Rule* rule = find_rule(policy.rules, facts);
  for (const StepRow& row : kSteps)
    if (const Answer answer = row.ask(policy, facts, rule))
      return {*answer, row.text.step, rule, detail_of(row.text.step, policy, facts, rule)};
  const PolicyStep last = rule != nullptr && rule->action == RuleAction::kOffload
                              ? PolicyStep::kRules
                              : PolicyStep::kWorth;
  return {Reason::kOffloaded, last, rule, detail_of(last, policy, facts, rule)};
}

}  // namespace snp::chimney
