#include "snp/host/rule_chains.h"

#include <algorithm>

namespace snp::host {
namespace {

using Site = RuleChains::Site;

constexpr std::size_t kMostJumps = 64;  // nft refuses more than 16, iptables a loop

// How a packet may leave a chain. A chain that concerns it is never left.
struct Ways {
  bool may_accept = false;
  bool may_go_on = false;  // in the chain that jumped here
};

class Walk {
 public:
  Walk(const RuleChains& chains, const Packet& packet)
      : chains_(chains), packet_(packet), known_(chains.size()) {}

  // Post: site(), or the ways.
  Ways run(ChainId id, std::size_t depth);
  [[nodiscard]] const std::optional<Site>& site() const noexcept { return site_; }

 private:
  // True: no packet goes on behind the rule.
  bool run_rule(ChainId id, const Rule& rule, std::size_t depth, Ways& ways);
  bool run_step(ChainId id, const Rule& rule, const Step& step, Match match, std::size_t depth,
                Ways& ways);

  const RuleChains& chains_;
  const Packet& packet_;
  std::vector<std::optional<Ways>> known_;  // many rules may lead to one chain
  std::optional<Site> site_;
};

Ways Walk::run(ChainId id, std::size_t depth) {
  if (known_[id]) return *known_[id];
  Ways ways;
  const auto& rules = chains_.at(id).rules;
  const bool has_ended = std::any_of(rules.begin(), rules.end(), [&](const Rule& rule) {
    return run_rule(id, rule, depth, ways);
  });
  if (!has_ended) ways.may_go_on = true;
  known_[id] = ways;
  return ways;
}

bool Walk::run_rule(ChainId id, const Rule& rule, std::size_t depth, Ways& ways) {
  Match matched = Match::kYes;
  std::size_t asked = 0;
  for (const Step& step : rule.steps) {
    for (; asked < std::min(step.after, rule.conditions.size()); ++asked)
      matched = std::min(matched, match(rule.conditions[asked], packet_));
    if (matched == Match::kNo) return false;
    const Match here = std::min(matched, match(step.conditions, packet_));
    if (here != Match::kNo && run_step(id, rule, step, here, depth, ways)) return true;
  }
  return false;
}

bool Walk::run_step(ChainId id, const Rule& rule, const Step& step, Match match, std::size_t depth,
                    Ways& ways) {
  const bool is_certain = match == Match::kYes;
  switch (step.effect) {
    case Effect::kCounts:
      if (packet_.is_count_nothing) return false;
      break;
    case Effect::kActs:
      break;
    case Effect::kAccepts:
      ways.may_accept = true;
      return is_certain;
    case Effect::kReturns:
      ways.may_go_on = true;
      return is_certain;
    case Effect::kJumps:
    case Effect::kGoes: {
      if (step.chain >= chains_.size() || depth >= kMostJumps) break;
      const Ways below = run(step.chain, depth + 1);
      if (site_) return true;
      ways.may_accept |= below.may_accept;
      if (step.effect == Effect::kGoes) {
        ways.may_go_on |= below.may_go_on;
        return is_certain;
      }
      return is_certain && !below.may_go_on;
    }
  }
  site_ = Site{id, rule.number};
  return true;
}

}  // namespace

ChainId RuleChains::add(RuleChain chain) {
  chains_.push_back(std::move(chain));
  return static_cast<ChainId>(chains_.size() - 1);
}

std::optional<Site> RuleChains::find_concern(ChainId base, const Packet& packet) const {
  Walk walk(*this, packet);
  const Ways ways = walk.run(base, 0);
  if (walk.site()) return walk.site();
  if (ways.may_go_on && !chains_[base].is_accepting) return Site{base, std::nullopt};
  return std::nullopt;
}

std::string to_string(const RuleChains& chains, const Site& site, ChainId base,
                      std::string_view rule_word) {
  const std::string chain = site.chain == base ? "" : "chain " + chains.at(site.chain).name + ", ";
  if (!site.rule) return chain + "policy";
  return chain + std::string(rule_word) + " " + std::to_string(*site.rule);
}

}  // namespace snp::host
