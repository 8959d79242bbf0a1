// One rule of nftables, as libnftables writes it in JSON (libnftables-json(5)): its conditions and
// what it does. What is not understood may match, and acts. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>

#include <nlohmann/json.hpp>

#include "snp/host/rule_chains.h"

namespace snp::host {

// What the names in rules stand for; each is family, table, name.
struct NftNames {
  using Name = std::tuple<std::string, std::string, std::string>;
  std::map<Name, ChainId> chains;
  std::map<Name, nlohmann::json> sets;  // and maps, whole
  std::set<Name> filled_by_packets;     // the kernel tells nobody of such elements
};

// A member that is a text; empty: there is none.
[[nodiscard]] std::string text_in(const nlohmann::json& object, const char* key);

// Pre: rule has "expr", its statements.
Rule read_nft_rule(const NftNames& names, const nlohmann::json& rule);

}  // namespace snp::host
