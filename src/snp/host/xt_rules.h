// Rules of iptables and ip6tables as the kernel keeps them (struct ipt_entry, struct ip6t_entry),
// reduced to what says whether a connection is concerned. Pure.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snp/host/features.h"
#include "snp/host/rule_chains.h"

namespace snp::host {

enum class XtFamily : std::uint8_t { kIpv4, kIpv6 };

// A rule up to its target: an entry of the family, of as many bytes as its target_offset says.
// Pre: the kernel has given the bytes, aligned as it gives them.
std::vector<Condition> conditions_of(XtFamily family, std::span<const std::byte> entry);
// -g instead of -j.
bool is_goto(XtFamily family, std::span<const std::byte> entry);

struct XtTable {
  XtFamily family = XtFamily::kIpv4;
  std::string name;
  RuleChains chains;
  std::vector<ChainId> bases;  // chains with the name of a hook
};

// A rule without a target is empty, and only counts.
Step step_of_target(std::string_view target, bool is_goto, bool is_chain, ChainId chain);

// One for each base chain that may concern anybody.
Features features_of_table(const std::shared_ptr<const XtTable>& table);

}  // namespace snp::host
