// What of a ruleset concerns which connection: read back from libnftables' own JSON (nft 1.0.6).
#include "snp/host/nft_ruleset.h"

#include <string>

#include <gtest/gtest.h>

namespace snp::host {
namespace {

using chimney::Reason;

FlowView flow(const char* text, const char* device = "eth0") {
  return {*parse_four_tuple(text), device, false};
}

const FlowView kFlow = flow("10.0.0.1:40000-10.0.0.2:6379");
const FlowView kFlow6 = flow("[fd77::1]:40000-[fd77::2]:6379");

constexpr const char* kChain =
    R"({"chain": {"family": "inet", "table": "t", "name": "c", "handle": 1,
  "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}})";

std::string ruleset(const std::string& items) {
  return R"({"nftables": [{"metainfo": {"version": "1.0.6"}}, )" + items + "]}";
}

std::string rule(const std::string& statements, const std::string& chain = "c") {
  return R"({"rule": {"family": "inet", "table": "t", "chain": ")" + chain +
         R"(", "handle": 7, "expr": [)" + statements + "]}}";
}

std::string match(const std::string& left, const std::string& right, const std::string& op = "==") {
  return R"({"match": {"op": ")" + op + R"(", "left": )" + left + R"(, "right": )" + right + "}}";
}

std::string payload(const std::string& protocol, const std::string& field) {
  return R"({"payload": {"protocol": ")" + protocol + R"(", "field": ")" + field + R"("}})";
}

std::string meta(const std::string& key) {
  return R"({"meta": {"key": ")" + key + R"("}})";
}

constexpr const char* kDrop = R"({"drop": null})";

bool concerns(const std::string& items, const FlowView& view, NftSurroundings around = {}) {
  const auto features = read_nft_ruleset(ruleset(items), std::move(around));
  EXPECT_TRUE(features.has_value());
  for (const Feature& feature : *features)
    if (feature.concerns(view)) return true;
  return false;
}

// A rule `match... drop` in an input chain.
bool is_dropped(const std::string& conditions, const FlowView& view) {
  return concerns(std::string(kChain) + ", " + rule(conditions + ", " + kDrop), view);
}

TEST(NftRuleset, NothingConcernsNobody) {
  EXPECT_FALSE(concerns(R"({"table": {"family": "inet", "name": "t", "handle": 1}})", kFlow));
  EXPECT_FALSE(concerns(kChain, kFlow));
}

TEST(NftRuleset, APolicyOfDropConcernsAllItSees) {
  const std::string drop = R"({"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1,
    "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}})";
  EXPECT_TRUE(concerns(drop, kFlow));
  EXPECT_FALSE(concerns(drop, kFlow6));
}

TEST(NftRuleset, ForwardedPacketsAreNotOurs) {
  const std::string forward =
      R"({"chain": {"family": "inet", "table": "t", "name": "c", "handle": 1,
    "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}})";
  EXPECT_FALSE(concerns(forward + ", " + rule(kDrop), kFlow));
}

constexpr const char* kCounter = R"({"counter": {"packets": 0, "bytes": 0}})";
constexpr const char* kAccept = R"({"accept": null})";

TEST(NftRuleset, ToAcceptIsNothingToCountIsSomething) {
  EXPECT_FALSE(concerns(std::string(kChain) + ", " + rule(kAccept), kFlow));
  EXPECT_TRUE(concerns(std::string(kChain) + ", " + rule(kCounter), kFlow));
  EXPECT_TRUE(
      concerns(std::string(kChain) + ", " + rule(std::string(kCounter) + ", " + kAccept), kFlow));
  // It counts before it asks.
  EXPECT_TRUE(concerns(
      std::string(kChain) + ", " +
          rule(std::string(kCounter) + ", " + match(payload("tcp", "sport"), "1") + ", " + kAccept),
      kFlow));
  EXPECT_FALSE(concerns(std::string(kChain) + ", " + rule(R"({"return": null})"), kFlow));
}

TEST(NftRuleset, Ports) {
  const std::string sport = payload("tcp", "sport");  // of the peer, in an input chain
  EXPECT_TRUE(is_dropped(match(sport, "6379"), kFlow));
  EXPECT_FALSE(is_dropped(match(sport, "6380"), kFlow));
  EXPECT_FALSE(is_dropped(match(sport, "6379", "!="), kFlow));
  EXPECT_TRUE(is_dropped(match(sport, R"({"set": [22, {"range": [6000, 7000]}]})"), kFlow));
  EXPECT_FALSE(is_dropped(match(sport, R"({"set": [22, {"range": [6000, 6378]}]})"), kFlow));
  EXPECT_TRUE(is_dropped(match(sport, "6378", ">"), kFlow));
  EXPECT_FALSE(is_dropped(match(sport, "6379", ">"), kFlow));
  EXPECT_TRUE(is_dropped(match(sport, "6379", "<="), kFlow));
  EXPECT_FALSE(is_dropped(match(sport, "6379", "<"), kFlow));
  EXPECT_FALSE(is_dropped(match(payload("tcp", "dport"), "6379"), kFlow));
  EXPECT_TRUE(is_dropped(match(payload("th", "dport"), "40000"), kFlow));
}

TEST(NftRuleset, Addresses) {
  const std::string saddr = payload("ip", "saddr");
  EXPECT_TRUE(is_dropped(match(saddr, R"("10.0.0.2")"), kFlow));
  EXPECT_FALSE(is_dropped(match(saddr, R"("10.0.0.3")"), kFlow));
  EXPECT_TRUE(is_dropped(match(saddr, R"("10.0.0.3")", "!="), kFlow));
  EXPECT_FALSE(is_dropped(match(saddr, R"("10.0.0.3")", "!="), kFlow6));  // not IPv4
  EXPECT_TRUE(is_dropped(match(saddr, R"({"prefix": {"addr": "10.0.0.0", "len": 8}})"), kFlow));
  EXPECT_FALSE(is_dropped(match(saddr, R"({"prefix": {"addr": "11.0.0.0", "len": 8}})"), kFlow));
  EXPECT_TRUE(is_dropped(match(saddr, R"({"range": ["10.0.0.1", "10.0.0.9"]})"), kFlow));
  const std::string daddr = payload("ip6", "daddr");
  EXPECT_TRUE(is_dropped(match(daddr, R"({"prefix": {"addr": "fd77::", "len": 64}})"), kFlow6));
  EXPECT_FALSE(is_dropped(match(daddr, R"({"prefix": {"addr": "fd78::", "len": 64}})"), kFlow6));
  EXPECT_FALSE(is_dropped(match(daddr, R"({"prefix": {"addr": "::", "len": 0}})"), kFlow));
  // Part of an address: not understood.
  EXPECT_TRUE(
      is_dropped(match(R"({"&": [)" + saddr + R"(, "255.0.0.255"]})", R"("11.0.0.1")"), kFlow));
}

TEST(NftRuleset, Devices) {
  EXPECT_TRUE(is_dropped(match(meta("iifname"), R"("eth*")"), kFlow));
  EXPECT_FALSE(is_dropped(match(meta("iifname"), R"("veth*")"), kFlow));
  EXPECT_FALSE(is_dropped(match(meta("iif"), R"("lo")"), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("iif"), R"("lo")", "!="), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("iifname"), R"({"set": ["lo", "eth0"]})"), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("iifname"), R"("lo")"), flow("10.0.0.1:1-10.0.0.2:2", "")));
}

TEST(NftRuleset, Protocols) {
  EXPECT_TRUE(is_dropped(match(meta("l4proto"), R"("tcp")"), kFlow));
  EXPECT_FALSE(is_dropped(match(meta("l4proto"), R"("udp")"), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("l4proto"), R"("udp")", "!="), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("l4proto"), R"({"set": ["tcp", "udp"]})"), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("l4proto"), "6"), kFlow));
  EXPECT_FALSE(is_dropped(match(payload("udp", "dport"), "53"), kFlow));
  EXPECT_FALSE(is_dropped(match(payload("icmp", "type"), R"("echo-request")"), kFlow));
  EXPECT_FALSE(is_dropped(match(payload("ip", "protocol"), R"("tcp")"), kFlow6));
  EXPECT_TRUE(is_dropped(match(payload("ip6", "nexthdr"), R"("tcp")"), kFlow6));
  EXPECT_FALSE(is_dropped(match(meta("nfproto"), R"("ipv6")"), kFlow));
  EXPECT_TRUE(is_dropped(match(meta("nfproto"), R"("ipv6")"), kFlow6));
}

TEST(NftRuleset, WhatIsNotUnderstoodMayMatch) {
  EXPECT_TRUE(is_dropped(R"({"match": {"op": "in", "left": {"ct": {"key": "state"}},
    "right": ["established", "related"]}})",
                         kFlow));
  EXPECT_TRUE(is_dropped(R"({"xt": {"type": "match", "name": "owner"}})", kFlow));
  EXPECT_TRUE(concerns(
      std::string(kChain) + ", " + rule(R"({"xt": {"type": "target", "name": "LOG"}})"), kFlow));
  EXPECT_TRUE(concerns(std::string(kChain) + ", " + rule(R"({"later": 1})"), kFlow));
}

TEST(NftRuleset, AllConditionsMustHold) {
  const std::string port = match(payload("tcp", "sport"), "6379");
  EXPECT_TRUE(is_dropped(port + ", " + match(payload("ip", "saddr"), R"("10.0.0.2")"), kFlow));
  EXPECT_FALSE(is_dropped(port + ", " + match(payload("ip", "saddr"), R"("10.0.0.3")"), kFlow));
}

constexpr const char* kOther =
    R"({"chain": {"family": "inet", "table": "t", "name": "x", "handle": 2}})";

TEST(NftRuleset, JumpsConcernByWhereTheyLead) {
  const std::string base = std::string(kChain) + ", " + kOther + ", ";
  const std::string jump =
      rule(R"({"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target": "x"}})");
  EXPECT_FALSE(concerns(base + jump, kFlow));
  EXPECT_TRUE(concerns(base + jump + ", " + rule(kDrop, "x"), kFlow));
  EXPECT_FALSE(concerns(
      base + jump + ", " + rule(match(payload("tcp", "sport"), "1") + ", " + kDrop, "x"), kFlow));
  EXPECT_FALSE(concerns(base + rule(kDrop, "x"), kFlow));  // nobody jumps there
  const std::string loop = rule(R"({"jump": {"target": "x"}})", "x");
  EXPECT_TRUE(concerns(base + jump + ", " + loop, kFlow));  // nft refuses it; we end
}

TEST(NftRuleset, VerdictMaps) {
  const auto map = [](const std::string& elements) {
    return std::string(kChain) + ", " + kOther + ", " + rule(kDrop, "x") + ", " +
           rule(R"({"vmap": {"key": )" + payload("tcp", "sport") + R"(, "data": {"set": [)" +
                elements + "]}}}");
  };
  EXPECT_TRUE(concerns(map(R"([6379, {"drop": null}])"), kFlow));
  EXPECT_FALSE(concerns(map(R"([6380, {"drop": null}])"), kFlow));
  EXPECT_FALSE(concerns(map(R"([6379, {"accept": null}])"), kFlow));
  EXPECT_TRUE(concerns(map(R"([{"range": [6000, 7000]}, {"goto": {"target": "x"}}])"), kFlow));
  EXPECT_FALSE(concerns(map(R"([{"range": [7000, 7001]}, {"jump": {"target": "x"}}])"), kFlow));
  const std::string named = R"({"map": {"family": "inet", "name": "m", "table": "t", "type":
    "inet_service", "handle": 5, "map": "verdict", "elem": [[6379, {"drop": null}]]}})";
  const std::string asks =
      rule(R"({"vmap": {"key": )" + payload("tcp", "sport") + R"(, "data": "@m"}})");
  EXPECT_TRUE(concerns(named + ", " + kChain + ", " + asks, kFlow));
  EXPECT_FALSE(concerns(named + ", " + kChain + ", " + asks, flow("10.0.0.1:4-10.0.0.2:5")));
}

TEST(NftRuleset, Sets) {
  const auto set = [](const std::string& rest) {
    return R"({"set": {"family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "handle": 3)" +
           rest + "}}, " + kChain + ", " +
           rule(match(payload("ip", "saddr"), R"("@s")") + ", " + kDrop);
  };
  EXPECT_FALSE(concerns(set(""), kFlow));
  EXPECT_TRUE(concerns(
      set(R"(, "elem": ["1.2.3.4", {"elem": {"val": "10.0.0.2", "timeout": 60}}])"), kFlow));
  EXPECT_FALSE(concerns(set(R"(, "elem": ["1.2.3.4"])"), kFlow));
  EXPECT_FALSE(concerns(set(R"(, "elem": ["1.2.3.4"])"), kFlow6));
  // Packets fill it, and nobody is told.
  const std::string filled =
      rule(match(payload("tcp", "sport"), "1") + R"(, {"set": {"op": "add", "elem": )" +
           payload("ip", "saddr") + R"(, "set": "@s"}})");
  EXPECT_TRUE(concerns(set("") + ", " + filled, kFlow));
}

constexpr const char* kGuard =
    R"({"chain": {"family": "inet", "table": "t", "name": "c", "handle": 1,
  "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}})";

// Who drops the rest lets pass what a rule accepts for certain.
TEST(NftRuleset, WhatIsAcceptedInAnyCaseIsLeftAlone) {
  const auto guard = [](const std::string& accepted) {
    return std::string(kGuard) + ", " + rule(accepted + ", " + kAccept);
  };
  EXPECT_FALSE(concerns(guard(match(payload("tcp", "sport"), "6379")), kFlow));
  EXPECT_TRUE(concerns(guard(match(payload("tcp", "sport"), "6380")), kFlow));
  EXPECT_TRUE(concerns(guard(match(payload("tcp", "flags"), R"("ack")", "in")), kFlow));
  EXPECT_TRUE(concerns(guard(match(payload("ip6", "nexthdr"), R"("tcp")")), kFlow6));
  EXPECT_FALSE(concerns(guard(match(meta("l4proto"), R"("tcp")")), kFlow));
  EXPECT_TRUE(concerns(guard(match(meta("l4proto"), R"("@s")")), kFlow));
  EXPECT_TRUE(concerns(guard(match(meta("mark"), "7")), kFlow));
  EXPECT_TRUE(concerns(guard(R"({"limit": {"rate": 1, "per": "second"}})"), kFlow));
  EXPECT_TRUE(concerns(guard(R"({"xt": {"type": "match", "name": "recent"}})"), kFlow));
  EXPECT_FALSE(concerns(guard(R"({"xt": {"type": "match", "name": "comment"}})"), kFlow));
  // A drop before it, which may match.
  const std::string drop = rule(match(meta("mark"), "7") + ", " + kDrop);
  EXPECT_TRUE(concerns(std::string(kGuard) + ", " + drop + ", " + rule(kAccept), kFlow));
  // In a chain that it leads to.
  const std::string jump =
      std::string(kGuard) + ", " + kOther + ", " + rule(R"({"jump": {"target": "x"}})") + ", ";
  EXPECT_FALSE(concerns(jump + rule(kAccept, "x"), kFlow));
  EXPECT_TRUE(concerns(jump + rule(R"({"return": null})", "x"), kFlow));
  EXPECT_FALSE(concerns(jump + rule(R"({"return": null})", "x") + ", " + rule(kAccept), kFlow));
  const std::string gone = std::string(kGuard) + ", " + kOther + ", " +
                           rule(R"({"goto": {"target": "x"}})") + ", " + rule(kAccept);
  EXPECT_TRUE(concerns(gone, kFlow));  // it does not come back
}

TEST(NftRuleset, ConntracksStateIsOpenUnlessAcceptanceIsEnough) {
  const std::string state = R"({"ct": {"key": "state"}})";
  const std::string established =
      rule(match(state, R"(["established", "related"])", "in") + ", " + kCounter + ", " + kAccept);
  const std::string stateful = std::string(kGuard) + ", " + established;
  FlowView lenient = kFlow;
  lenient.is_acceptance_enough = true;
  EXPECT_TRUE(concerns(stateful, kFlow));
  EXPECT_FALSE(concerns(stateful, lenient));
  const std::string invalid = rule(match(state, R"("invalid")", "in") + ", " + kDrop);
  EXPECT_FALSE(concerns(std::string(kGuard) + ", " + invalid + ", " + established, lenient));
  EXPECT_TRUE(concerns(std::string(kGuard) + ", " + invalid, lenient));  // and by policy
  const std::string not_new = rule(match(state, R"("new")", "!=") + ", " + kAccept);
  EXPECT_FALSE(concerns(std::string(kGuard) + ", " + not_new, lenient));
  EXPECT_TRUE(concerns(std::string(kGuard) + ", " + not_new, kFlow));
  const std::string map = rule(R"({"vmap": {"key": )" + state + R"(, "data": {"set": [
      ["established", {"accept": null}], ["invalid", {"drop": null}]]}}})");
  EXPECT_FALSE(concerns(std::string(kGuard) + ", " + map, lenient));
  EXPECT_TRUE(concerns(std::string(kGuard) + ", " + map, kFlow));
  // A rule that drops it is one, whatever is enough.
  const std::string port = rule(match(payload("tcp", "sport"), "6379") + ", " + kDrop);
  EXPECT_TRUE(concerns(std::string(kGuard) + ", " + port + ", " + established, lenient));
  // Before either way ends in a packet that passes, the state does not matter.
  EXPECT_FALSE(concerns(
      std::string(kChain) + ", " + rule(match(state, R"("established")", "in") + ", " + kAccept),
      kFlow));
}

TEST(NftRuleset, ChainsOfDevices) {
  const std::string chain =
      R"({"chain": {"family": "netdev", "table": "n", "name": "i", "handle": 1,
    "type": "filter", "hook": "ingress", "prio": 0, "policy": "accept"}},
    {"rule": {"family": "netdev", "table": "n", "chain": "i", "handle": 3, "expr": [{"drop": null}]}})";
  NftSurroundings around;
  around.chain_devices[{"netdev", "n", "i"}] = {"eth1", "eth0"};
  EXPECT_TRUE(concerns(chain, kFlow, around));
  EXPECT_FALSE(concerns(chain, flow("10.0.0.1:4-10.0.0.2:5", "eth2"), around));
  EXPECT_TRUE(concerns(chain, flow("10.0.0.1:4-10.0.0.2:5", "eth2")));  // not known which
}

TEST(NftRuleset, BridgeTablesSeeBridgesOnly) {
  const std::string chain =
      R"({"chain": {"family": "bridge", "table": "b", "name": "c", "handle": 1,
    "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}})";
  EXPECT_FALSE(concerns(chain, kFlow));
  NftSurroundings around;
  around.bridges = {"eth0"};
  EXPECT_TRUE(concerns(chain, kFlow, around));
}

TEST(NftRuleset, NamesTableAndChain) {
  const auto features = read_nft_ruleset(
      ruleset(R"({"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "handle": 1,
        "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 2,
        "expr": [{"masquerade": null}]}})"),
      {});
  ASSERT_TRUE(features.has_value());
  ASSERT_EQ(features->size(), 1u);
  EXPECT_EQ((*features)[0].reason, Reason::kNat);
  EXPECT_EQ((*features)[0].what, "nftables: table ip nat, chain POSTROUTING");
  EXPECT_EQ((*features)[0].where(kFlow), "rule handle 2");
}

TEST(NftRuleset, NamesWhereElse) {
  const auto where = [](const std::string& items) {
    const auto features = read_nft_ruleset(ruleset(items), {});
    return features && features->size() == 1 ? (*features)[0].where(kFlow) : std::string("?");
  };
  EXPECT_EQ(where(kGuard), "policy");
  EXPECT_EQ(where(std::string(kChain) + ", " + kOther + ", " +
                  rule(R"({"jump": {"target": "x"}})") + ", " + rule(kDrop, "x")),
            "chain x, rule handle 7");
}

TEST(NftRuleset, NonsenseIsRefused) {
  EXPECT_FALSE(read_nft_ruleset("", {}).has_value());
  EXPECT_FALSE(read_nft_ruleset("{\"nftables\": 5}", {}).has_value());
  EXPECT_FALSE(read_nft_ruleset("[", {}).has_value());
}

}  // namespace
}  // namespace snp::host
