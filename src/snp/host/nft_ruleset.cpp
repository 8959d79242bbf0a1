#include "snp/host/nft_ruleset.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "snp/host/nft_rule.h"
#include "snp/host/packet_match.h"

namespace snp::host {
namespace {

using Json = nlohmann::json;
using ChainName = NftSurroundings::ChainName;

struct BaseChain {
  ChainName name;
  ChainId id = 0;
  std::string hook, type;
  std::vector<std::string> devices;  // that it is bound to; empty: all
};

struct Ruleset {
  NftNames names;
  RuleChains chains;
  std::vector<BaseChain> bases;
  std::set<std::string> bridges;
};

std::vector<std::string> devices_in(const Json& chain) {
  const auto found = chain.find("dev");
  if (found == chain.end()) return {};
  if (found->is_string()) return {found->get<std::string>()};
  std::vector<std::string> names;
  if (found->is_array())
    for (const Json& name : *found)
      if (name.is_string()) names.push_back(name.get<std::string>());
  return names;
}

void read_chain(const Json& body, NftSurroundings& surroundings, Ruleset& ruleset) {
  const ChainName name{text_in(body, "family"), text_in(body, "table"), text_in(body, "name")};
  const ChainId id =
      ruleset.chains.add({text_in(body, "name"), text_in(body, "policy") != "drop", {}});
  ruleset.names.chains[name] = id;
  BaseChain base{name, id, text_in(body, "hook"), text_in(body, "type"), devices_in(body)};
  if (base.hook.empty()) return;
  if (const auto known = surroundings.chain_devices.find(name);
      known != surroundings.chain_devices.end())
    base.devices = known->second;
  ruleset.bases.push_back(std::move(base));
}

// The sets that rules fill: `update @set { ip saddr }`.
void note_filled_set(const Json& rule, Ruleset& ruleset) {
  const auto statements = rule.find("expr");
  if (statements == rule.end() || !statements->is_array()) return;
  for (const Json& statement : *statements) {
    if (!statement.is_object()) continue;
    for (const char* kind : {"set", "map"}) {
      const auto found = statement.find(kind);
      if (found == statement.end() || !found->is_object()) continue;
      if (const std::string name = text_in(*found, kind); !name.empty())
        ruleset.names.filled_by_packets.emplace(text_in(rule, "family"), text_in(rule, "table"),
                                                name.substr(1));
    }
  }
}

// Does the chain see the connection's packets at all?
bool is_passed(const Ruleset& ruleset, const BaseChain& chain, const FlowView& view) {
  const std::string& family = std::get<0>(chain.name);
  const bool is_v4 = view.flow.remote.address.is_v4();
  if ((family == "ip" && !is_v4) || (family == "ip6" && is_v4)) return false;
  if (view.device.empty()) return true;
  if (family == "bridge" && !ruleset.bridges.contains(view.device)) return false;
  return chain.devices.empty() ||
         std::any_of(chain.devices.begin(), chain.devices.end(), [&](const std::string& pattern) {
           return matches_device(pattern, view.device);
         });
}

std::optional<Heading> heading_of(const std::string& hook) {
  if (hook == "ingress" || hook == "prerouting" || hook == "input") return Heading::kIn;
  if (hook == "egress" || hook == "postrouting" || hook == "output") return Heading::kOut;
  return std::nullopt;  // forward: connections that end on this host do not pass it
}

bool may_concern(const Ruleset& ruleset, const BaseChain& base) {
  const RuleChain& chain = ruleset.chains.at(base.id);
  return heading_of(base.hook).has_value() && std::get<0>(base.name) != "arp" &&
         (!chain.is_accepting || !chain.rules.empty());
}

std::optional<RuleChains::Site> find_concern(const Ruleset& ruleset, const BaseChain& base,
                                             const FlowView& view) {
  if (!is_passed(ruleset, base, view)) return std::nullopt;
  Packet packet = packet_of(view, *heading_of(base.hook));
  // What is translated is not a matter of the verdict.
  if (base.type == "nat") packet.is_established = false;
  return ruleset.chains.find_concern(base.id, packet);
}

// Is there a packet of TCP for which it does something?
bool is_for_anybody(const Rule& rule) {
  std::size_t reached = 0;
  while (reached < rule.conditions.size() && !is_never(rule.conditions[reached]))
    ++reached;
  if (reached == rule.conditions.size()) return !rule.steps.empty();
  return std::any_of(rule.steps.begin(), rule.steps.end(),
                     [&](const Step& step) { return step.after <= reached; });
}

Ruleset read_ruleset(const Json& items, NftSurroundings& surroundings) {
  Ruleset ruleset;
  ruleset.bridges = std::move(surroundings.bridges);
  for (const Json& item : items) {
    if (!item.is_object() || item.size() != 1) continue;
    const std::string kind = item.begin().key();
    const Json& body = item.begin().value();
    if (kind == "chain") read_chain(body, surroundings, ruleset);
    if (kind == "rule") note_filled_set(body, ruleset);
    if (kind == "set" || kind == "map")
      ruleset.names.sets[{text_in(body, "family"), text_in(body, "table"), text_in(body, "name")}] =
          body;
  }
  for (const Json& item : items) {
    if (!item.is_object() || !item.contains("rule")) continue;
    const Json& body = item.at("rule");
    const ChainName name{text_in(body, "family"), text_in(body, "table"), text_in(body, "chain")};
    const auto chain = ruleset.names.chains.find(name);
    if (chain == ruleset.names.chains.end() || !body.contains("expr")) continue;
    Rule rule = read_nft_rule(ruleset.names, body);
    if (is_for_anybody(rule)) ruleset.chains.at(chain->second).rules.push_back(std::move(rule));
  }
  ruleset.names.sets.clear();  // the rules have what they need
  return ruleset;
}

}  // namespace

Result<Features> read_nft_ruleset(std::string_view json, NftSurroundings surroundings) {
  const Json parsed = Json::parse(json, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("nftables") || !parsed.at("nftables").is_array())
    return fail(Errc::kProtocol, "libnftables answered no JSON of a ruleset");
  const auto ruleset =
      std::make_shared<const Ruleset>(read_ruleset(parsed.at("nftables"), surroundings));
  Features features;
  for (std::size_t which = 0; which < ruleset->bases.size(); ++which) {
    const BaseChain& base = ruleset->bases[which];
    if (!may_concern(*ruleset, base)) continue;
    const auto& [family, table, chain] = base.name;
    Feature feature;
    feature.reason = base.type == "nat" ? chimney::Reason::kNat : chimney::Reason::kFirewall;
    feature.what = "nftables: table ";
    feature.what.append(family).append(" ").append(table).append(", chain ").append(chain);
    feature.concerns = [ruleset, which](const FlowView& view) {
      return find_concern(*ruleset, ruleset->bases[which], view).has_value();
    };
    feature.where = [ruleset, which](const FlowView& view) {
      const BaseChain& own = ruleset->bases[which];
      const auto site = find_concern(*ruleset, own, view);
      return site ? to_string(ruleset->chains, *site, own.id, "rule handle") : std::string();
    };
    features.push_back(std::move(feature));
  }
  return features;
}

}  // namespace snp::host
