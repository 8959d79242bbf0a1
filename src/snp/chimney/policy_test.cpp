#include "snp/chimney/policy.h"

#include <gtest/gtest.h>

namespace snp::chimney {
namespace {

constexpr FourTuple kFlow{{IpAddress::v4(10, 0, 0, 1), 80}, {IpAddress::v4(10, 0, 0, 2), 40000}};
const RuleLimits kLimits{{"host", "cubic", "newreno"}, 16384, 1 << 30, 4};

Rules rules(const std::string& text) {
  auto parsed = parse_rules(text, "r", kLimits);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed.value_or(Rules{});
}

std::string error_of(const std::string& text) {
  const auto parsed = parse_rules(text, "r", kLimits);
  return parsed ? "accepted" : parsed.error().message;
}

Facts facts() {
  Facts of;
  of.flow = kFlow;
  of.program_path = "/usr/sbin/nginx";
  of.program_name = "nginx";
  of.uid = 33;
  of.cgroup = "/system.slice/nginx.service";
  of.interface = "eth0";
  of.bytes = 100;
  of.calls = 5;
  return of;
}

// One row: how policy and facts differ from those that say yes, and what comes out.
struct Row {
  const char* name;
  void (*change)(Policy&, Facts&);
  Reason reason;
  PolicyStep step;
};

// Every row also has everything below its step wrong: the first answer must win.
constexpr Row kRows[] = {
    {"yes when worth it", [](Policy&, Facts&) {}, Reason::kOffloaded, PolicyStep::kWorth},
    {"disabled", [](Policy& p, Facts&) { p.mode = Mode::kDisabled; }, Reason::kChimneyDisabled,
     PolicyStep::kSwitchedOff},
    {"device disabled",
     [](Policy& p, Facts&) {
       p.devices = {{"eth1", true, true}, {"eth0", false, false}};
     },
     Reason::kDeviceDisabled, PolicyStep::kDevice},
    {"device for the other family only",
     [](Policy& p, Facts&) {
       p.devices = {{"eth0", false, true}};
     },
     Reason::kDeviceDisabled, PolicyStep::kDevice},
    {"device for its family",
     [](Policy& p, Facts&) {
       p.devices = {{"eth0", true, false}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"another device disabled",
     [](Policy& p, Facts&) {
       p.devices = {{"eth1", false, false}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"incompatible", [](Policy&, Facts& f) { f.incompatible = Reason::kFirewall; },
     Reason::kFirewall, PolicyStep::kCoexistence},
    {"cannot move", [](Policy&, Facts& f) { f.cannot_move = Reason::kKtls; }, Reason::kKtls,
     PolicyStep::kConnection},
    {"disabled local port",
     [](Policy& p, Facts&) {
       p.disabled_local = {22, 80};
     },
     Reason::kDisabledPort, PolicyStep::kDisabledPorts},
    {"disabled remote port", [](Policy& p, Facts&) { p.disabled_remote = {40000}; },
     Reason::kDisabledPort, PolicyStep::kDisabledPorts},
    {"a remote port is not a local one", [](Policy& p, Facts&) { p.disabled_local = {40000}; },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"disabled beats enabled",
     [](Policy& p, Facts&) {
       p.enabled_local = {80};
       p.disabled_local = {80};
     },
     Reason::kDisabledPort, PolicyStep::kDisabledPorts},
    {"enabled local port", [](Policy& p, Facts&) { p.enabled_local = {80}; }, Reason::kOffloaded,
     PolicyStep::kWorth},
    {"enabled remote port, the other list full too",
     [](Policy& p, Facts&) {
       p.enabled_local = {81};
       p.enabled_remote = {40000};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"neither port enabled",
     [](Policy& p, Facts&) {
       p.enabled_local = {40000};
       p.enabled_remote = {80};
     },
     Reason::kPortNotEnabled, PolicyStep::kEnabledPorts},
    {"application disabled",
     [](Policy& p, Facts&) {
       p.applications = {{{"/x", "/usr/sbin/nginx"}, false}};
     },
     Reason::kApplicationTable, PolicyStep::kApplications},
    {"another application disabled",
     [](Policy& p, Facts&) {
       p.applications = {{{"/x"}, false}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"another application enabled",
     [](Policy& p, Facts&) {
       p.applications = {{{"/x"}, true}};
     },
     Reason::kApplicationTable, PolicyStep::kApplications},
    {"application enabled",
     [](Policy& p, Facts&) {
       p.applications = {{{"/x"}, true}, {{"/usr/sbin/nginx"}, true}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"application not known",
     [](Policy& p, Facts& f) {
       p.applications = {{{"/x"}, false}};
       f.program_path.clear();
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"port pair fits",
     [](Policy& p, Facts&) {
       p.port_pairs = {{1, {}}, {80, {}}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"both ports of a pair must fit",
     [](Policy& p, Facts&) {
       p.port_pairs = {{80, 40001}};
     },
     Reason::kPortTable, PolicyStep::kPortPairs},
    {"any pair",
     [](Policy& p, Facts&) {
       p.port_pairs = {{{}, {}}};
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"rule keeps it", [](Policy& p, Facts&) { p.rules = rules("local port 80 => !offload"); },
     Reason::kPolicy, PolicyStep::kRules},
    {"rule offloads at once",
     [](Policy& p, Facts& f) {
       p.rules = rules("all => offload");
       f.bytes = f.calls = 0;
     },
     Reason::kOffloaded, PolicyStep::kRules},
    {"rule says automatic, though the mode is enabled",
     [](Policy& p, Facts& f) {
       p.mode = Mode::kEnabled;
       p.rules = rules("all => automatic");
       f.bytes = f.calls = 0;
     },
     Reason::kNotAskedYet, PolicyStep::kWorth},
    {"no rule matches", [](Policy& p, Facts&) { p.rules = rules("local port 81 => !offload"); },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"mode enabled",
     [](Policy& p, Facts& f) {
       p.mode = Mode::kEnabled;
       f.bytes = f.calls = 0;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"not worth it yet", [](Policy&, Facts& f) { f.bytes = f.calls = 0; }, Reason::kNotAskedYet,
     PolicyStep::kWorth},
    {"calls alone are enough",
     [](Policy& p, Facts& f) {
       f.bytes = 0;
       p.automatic_calls = 5;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"thresholds of 0 are never reached",
     [](Policy& p, Facts&) { p.automatic_bytes = p.automatic_calls = 0; }, Reason::kNotAskedYet,
     PolicyStep::kWorth},
    {"history predicts that it pays",
     [](Policy&, Facts& f) {
       f.bytes = f.calls = 0;
       f.prediction = Prediction::kPays;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"thresholds of 0: whatever history predicts",
     [](Policy& p, Facts& f) {
       p.automatic_bytes = p.automatic_calls = 0;
       f.prediction = Prediction::kPays;
     },
     Reason::kNotAskedYet, PolicyStep::kWorth},
    {"a rule keeps what history would offload",
     [](Policy& p, Facts& f) {
       p.rules = rules("all => host");
       f.prediction = Prediction::kPays;
     },
     Reason::kPolicy, PolicyStep::kRules},
    {"enough calls, but they would not have paid",
     [](Policy&, Facts& f) {
       f.gain_us = 99;
       f.cost_us = 100;
     },
     Reason::kNotEarned, PolicyStep::kWorth},
    {"they would have",
     [](Policy&, Facts& f) {
       f.gain_us = 100;
       f.cost_us = 100;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"where earlier ones did not pay, once is not enough",
     [](Policy&, Facts& f) {
       f.prediction = Prediction::kDoesNot;
       f.gain_us = 399;
       f.cost_us = 100;
     },
     Reason::kNotEarned, PolicyStep::kWorth},
    {"four times is",
     [](Policy&, Facts& f) {
       f.prediction = Prediction::kDoesNot;
       f.gain_us = 400;
       f.cost_us = 100;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"mode enabled asks no history",
     [](Policy& p, Facts& f) {
       p.mode = Mode::kEnabled;
       f.prediction = Prediction::kDoesNot;
       f.cost_us = 100;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"wanted by an administrator",
     [](Policy&, Facts& f) {
       f.bytes = f.calls = 0;
       f.is_wanted = true;
     },
     Reason::kOffloaded, PolicyStep::kWorth},
    {"no room", [](Policy&, Facts& f) { f.has_room = false; }, Reason::kTargetFull,
     PolicyStep::kRoom},
};

Policy policy_that_says_yes() {
  Policy policy;
  policy.automatic_bytes = 100;
  policy.automatic_calls = 6;
  return policy;
}

// CFG-4
TEST(Policy, RowByRow) {
  for (const Row& row : kRows) {
    Policy policy = policy_that_says_yes();
    Facts of = facts();
    row.change(policy, of);
    const Verdict verdict = decide(policy, of);
    EXPECT_EQ(text_of(verdict.reason).name, text_of(row.reason).name) << row.name;
    EXPECT_EQ(text_of(verdict.step).name, text_of(row.step).name) << row.name;
  }
}

// What each step refuses with, in the order of the design.
TEST(Policy, TheFirstAnswerWins) {
  Policy policy = policy_that_says_yes();
  Facts of = facts();
  of.has_room = false;
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kRoom);
  of.bytes = of.calls = 0;
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kWorth);
  policy.rules = rules("all => host");
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kRules);
  policy.port_pairs = {{1, 1}};
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kPortPairs);
  policy.applications = {{{"/x"}, true}};
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kApplications);
  policy.enabled_local = {1};
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kEnabledPorts);
  policy.disabled_local = {80};
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kDisabledPorts);
  of.cannot_move = Reason::kMptcp;
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kConnection);
  of.incompatible = Reason::kFirewall;
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kCoexistence);
  policy.mode = Mode::kDisabled;
  EXPECT_EQ(decide(policy, of).step, PolicyStep::kSwitchedOff);
  for (std::size_t i = 0; i < kPolicySteps; ++i)
    EXPECT_EQ(static_cast<std::size_t>(all_policy_steps()[i].step), i);
}

// What history says is told where it was asked, and nowhere else.
TEST(Policy, TellsWhatPredictedIt) {
  Policy policy = policy_that_says_yes();
  Facts of = facts();
  of.history = "listener 0.0.0.0:80: 9 of the last 9 connections earned their hand-over";
  of.prediction = Prediction::kPays;
  EXPECT_EQ(decide(policy, of).detail, of.history);
  of.prediction = Prediction::kUnknown;
  of.bytes = of.calls = 0;
  EXPECT_EQ(decide(policy, of).detail, of.history);
  of.has_room = false;
  of.is_wanted = true;
  EXPECT_EQ(decide(policy, of).detail, "");
  policy.mode = Mode::kEnabled;
  of.has_room = true;
  EXPECT_EQ(decide(policy, of).detail, "");
}

TEST(Rules, ConditionsHoldOrNot) {
  const struct {
    const char* conditions;
    bool holds;
  } cases[] = {
      {"all", true},
      {"program nginx", true},
      {"program /usr/sbin/nginx", true},
      {"program redis, ngi*", true},
      {"program /usr/*", true},
      {"program nginx2", false},
      {"program /usr/sbin/ngin", false},
      {"! program nginx", false},
      {"not program redis", true},
      {"uid 33", true},
      {"uid 0-32, 34-99", false},
      {"cgroup /system.slice", true},
      {"cgroup /system.slice/nginx.service", true},
      {"cgroup /system", false},
      {"cgroup /", true},
      {"interface eth0", true},
      {"interface veth*", false},
      {"interface *", true},
      {"local net 10.0.0.0/24", true},
      {"local net 10.0.0.2", false},
      {"remote net 10.0.0.2/31", true},
      {"net 10.0.0.2", true},
      {"net 11.0.0.0/8, 10.1.0.0/16", false},
      {"net 0.0.0.0/0", true},
      {"net fd00::/8", false},
      {"net ::/0", true},
      {"local port 80", true},
      {"remote port 80", false},
      {"port 80", true},
      {"port 1-79,81-39999", false},
      {"local port 80 && remote port 40000", true},
      {"local port 80 and remote port 1", false},
      {"local port 80 && !uid 33", false},
  };
  for (const auto& each : cases) {
    const Rules parsed = rules(std::string(each.conditions) + " => offload");
    EXPECT_EQ(find_rule(parsed, facts()) != nullptr, each.holds) << each.conditions;
  }
}

TEST(Rules, WhatIsNotKnownDoesNotHold) {
  Facts of;
  of.flow = kFlow;
  for (const char* condition : {"program x", "!program x", "uid 1", "!uid 1", "cgroup /",
                                "!cgroup /x", "interface *", "!interface x"})
    EXPECT_EQ(find_rule(rules(std::string(condition) + " => offload"), of), nullptr) << condition;
}

TEST(Rules, FirstMatchWithItsTreatment) {
  const Rules parsed = rules(
      "# ours\n\nlocal port 81 => !offload\n"
      "  local port 80 => offload cong newreno ring 1M tx_ring 64K shard 3  # web\nall => host\n");
  ASSERT_EQ(parsed.size(), 3u);
  const Rule* rule = find_rule(parsed, facts());
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->line, 4u);
  EXPECT_EQ(rule->text, "local port 80 => offload cong newreno ring 1M tx_ring 64K shard 3  # web");
  EXPECT_EQ(rule->action, RuleAction::kOffload);
  EXPECT_EQ(rule->treatment.congestion_control, "newreno");
  EXPECT_EQ(rule->treatment.rx_ring, 1u << 20);
  EXPECT_EQ(rule->treatment.tx_ring, 1u << 16);
  EXPECT_EQ(rule->treatment.shard, 3u);
}

TEST(Rules, MistakesHaveLineAndColumn) {
  EXPECT_EQ(error_of("all => offload\n\nlocal uid 3 => offload\n"),
            "r:3:7: 'uid': give net or port");
  EXPECT_EQ(error_of("port 70000 => offload"), "r:1:6: '70000': port takes 0..65535 or FIRST-LAST");
  EXPECT_EQ(error_of("port 9-1 => offload"), "r:1:6: '9-1': port takes 0..65535 or FIRST-LAST");
  EXPECT_EQ(error_of("net 10.0.0.0/33 => offload"),
            "r:1:5: '10.0.0.0/33': net takes an address, or ADDRESS/BITS");
  EXPECT_EQ(error_of("cgroup x => offload"), "r:1:8: 'x': cgroup takes a path that begins with /");
  EXPECT_EQ(error_of("program => offload"),
            "r:1:9: '=>': program takes a path or a name, * at its end for any that begins so");
  EXPECT_EQ(error_of("all"),
            "r:1:4: the line ends: give && and another condition, or => and what happens");
  EXPECT_EQ(error_of("all =>"), "r:1:7: the line ends: give offload, !offload or automatic");
  EXPECT_EQ(error_of("all => reject"), "r:1:8: 'reject': give offload, !offload or automatic");
  EXPECT_EQ(error_of("all => !offload cong cubic"),
            "r:1:17: 'cong': nothing follows when the connection stays in the host");
  EXPECT_EQ(error_of("all => offload cong tahoe"),
            "r:1:21: 'tahoe': cong takes one of host, cubic, newreno");
  EXPECT_EQ(error_of("all => offload ring 1"), "r:1:21: '1': a ring takes 16384..1073741824 bytes");
  EXPECT_EQ(error_of("all => offload shard 4"), "r:1:22: '4': shard takes 0..3");
  EXPECT_EQ(error_of("all => offload fast"),
            "r:1:16: 'fast': give cong NAME, ring, rx_ring or tx_ring BYTES, or shard NUMBER");
  EXPECT_EQ(error_of("port 1, => offload"), "r:1:9: '=>': port takes 0..65535 or FIRST-LAST");
  EXPECT_EQ(error_of("a\x01"), "r:1:1: control characters in the line");
  EXPECT_EQ(error_of(std::string(kMostRuleBytes + 1, '\n')), "r: longer than 49152 bytes");
}

TEST(Policy, KnowsWhatItNeeds) {
  Policy policy;
  EXPECT_FALSE(policy.asks_for_programs());
  EXPECT_FALSE(policy.has_eager_rules());
  policy.rules = rules("port 1 && uid 3 => automatic");
  EXPECT_TRUE(policy.asks_for_programs());
  EXPECT_FALSE(policy.has_eager_rules());
  EXPECT_FALSE(policy.asks_for_interfaces());
  policy.rules = rules("port 1 => host\n!interface eth0 => automatic");
  EXPECT_TRUE(policy.asks_for_interfaces());
  policy.rules = rules("port 1 => offload");
  EXPECT_FALSE(policy.asks_for_programs());
  EXPECT_TRUE(policy.has_eager_rules());
  policy.applications = {{{"/x"}, false}};
  EXPECT_TRUE(policy.asks_for_programs());
}

}  // namespace
}  // namespace snp::chimney
