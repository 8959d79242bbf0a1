// Which connection is offloaded: the order of design section 11 as a table of steps, the first that
// has an answer decides. Pure: settings and facts in, an answer with its reason and step out.
//
//   chimney disabled? -> its device disabled? -> incompatible feature? -> can it move? -> disabled
//   ports? -> enabled ports?
//   -> table of applications? -> table of ports? -> rules -> worth it? -> room? -> vetoed?
//
// The lists of ports are those of the registry (reference 2.2), the tables those of netsh. Both
// only keep connections in the host: on a list or table of allowed ones, a connection is still to
// prove worth it. A rule that says `offload` skips that; a list above it, it cannot overrule.
//
// Worth it, in mode automatic: what happened to earlier connections of its origin says that it will
// pay (history.h), or it has carried so much itself that a hand-over would have paid (worth.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snp/chimney/history.h"
#include "snp/chimney/reason.h"
#include "snp/chimney/rules.h"
#include "snp/wire/address.h"

namespace snp::chimney {

enum class PolicyStep : std::uint8_t {
  kSwitchedOff,
  kDevice,
  kCoexistence,
  kConnection,
  kDisabledPorts,
  kEnabledPorts,
  kApplications,
  kPortPairs,
  kRules,
  kWorth,
  kRoom,
  kVeto,
};
inline constexpr std::size_t kPolicySteps = static_cast<std::size_t>(PolicyStep::kVeto) + 1;

struct PolicyStepText {
  PolicyStep step;
  std::string_view name;      // for scripts
  std::string_view question;  // for people
};
const PolicyStepText& text_of(PolicyStep step) noexcept;
std::span<const PolicyStepText> all_policy_steps() noexcept;  // in their order

enum class Mode : std::uint8_t { kDisabled, kEnabled, kAutomatic };

struct Application {
  std::vector<std::string> paths;  // that name it: as given, and what a symbolic link leads to
  bool is_enabled = true;
};

struct PortPairFilter {
  std::optional<std::uint16_t> local, remote;  // empty: any
};

// Of a device. Without one a device is on for both.
struct DeviceSwitch {
  std::string name;
  bool is_ipv4_on = true, is_ipv6_on = true;
};

struct Policy {
  Mode mode = Mode::kAutomatic;
  std::vector<DeviceSwitch> devices;
  std::vector<std::uint16_t> enabled_local, enabled_remote, disabled_local, disabled_remote;
  std::vector<Application> applications;
  std::vector<PortPairFilter> port_pairs;
  Rules rules;
  // Before a connection has moved so much it is not looked at. 0: this one is not counted; both 0:
  // nothing is offloaded without being asked for.
  std::uint64_t automatic_bytes = 0, automatic_calls = 0;

  // Must the facts name the program, its user and cgroup?
  [[nodiscard]] bool asks_for_programs() const noexcept;
  [[nodiscard]] bool asks_for_interfaces() const noexcept;
  // A rule that offloads at once: connections must be looked at from their first call on.
  [[nodiscard]] bool has_eager_rules() const noexcept;
};

// Of a connection, as far as they are known. A condition on what is not known does not hold,
// negated or not.
struct Facts {
  FourTuple flow;
  std::string program_path, program_name;  // empty: not known
  std::optional<std::uint32_t> uid;
  std::string cgroup, interface;       // empty: not known
  std::uint64_t bytes = 0, calls = 0;  // that the host has carried
  bool is_wanted = false;              // by an administrator, or offloaded already
  Prediction prediction = Prediction::kUnknown;
  std::string history;                       // what it is made from, in words; may be empty
  std::uint64_t gain_us = 0, cost_us = 0;    // of what the host has carried; of a hand-over
  Reason incompatible = Reason::kOffloaded;  // else: the feature that excludes it
  std::string feature;                       // that one, in words
  Reason cannot_move = Reason::kOffloaded;   // else: why
  bool has_room = true;
  std::optional<std::string> veto;  // who refuses it, and why
};

struct Verdict {
  Reason reason = Reason::kOffloaded;  // kOffloaded: it may be offloaded
  PolicyStep step = PolicyStep::kWorth;
  const Rule* rule = nullptr;  // that matched, whoever decided; lives as long as the policy
  // kCoexistence: which feature, in words. kVeto: who, and why. kWorth: what history says, if it is
  // asked.
  std::string detail;

  [[nodiscard]] bool is_yes() const noexcept { return reason == Reason::kOffloaded; }
};

Verdict decide(const Policy& policy, const Facts& facts) noexcept;

// The first rule that matches, or nullptr.
const Rule* find_rule(const Rules& rules, const Facts& facts) noexcept;

}  // namespace snp::chimney
