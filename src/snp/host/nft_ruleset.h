// nftables' ruleset, as libnftables writes it in JSON (libnftables-json(5)), reduced to what says
// whether a connection is concerned. Pure.
//
// A base chain concerns a connection when its policy is drop, or when it leads to a rule that may
// match the connection's packets and does anything, `accept` and `counter` included. What is not
// understood may match.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "snp/base/result.h"
#include "snp/host/features.h"

namespace snp::host {

struct NftSurroundings {
  // family, table, chain
  using ChainName = std::tuple<std::string, std::string, std::string>;
  // Of chains that are bound to devices. JSON does not name them in every version of the library.
  std::map<ChainName, std::vector<std::string>> chain_devices;
  std::set<std::string> bridges;  // bridges and their ports: only there bridge tables see packets
};

// One feature for each base chain that may concern anybody.
Result<Features> read_nft_ruleset(std::string_view json, NftSurroundings surroundings);

}  // namespace snp::host
