// Chains of a firewall's rules, as nftables and iptables have them, and whether they concern a
// connection. Pure.
//
// A base chain leaves a connection alone when all that it may do with its packets is to let them
// pass, seen by nobody: the verdict would be the same for each packet to come. It concerns the
// connection when it may drop, mark, translate, log or count one. What is not understood may match.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snp/host/packet_match.h"

namespace snp::host {

using ChainId = std::uint32_t;

enum class Effect : std::uint8_t {
  kCounts,   // and goes on
  kActs,     // anything else that a packet or somebody notices
  kAccepts,  // the end of the base chain
  kReturns,  // to whoever jumped here; from a base chain: to its policy
  kJumps,
  kGoes,  // a jump that does not come back
};

// What a rule does where its conditions hold.
struct Step {
  Effect effect = Effect::kActs;
  ChainId chain = 0;                  // kJumps, kGoes
  std::size_t after = 0;              // of the rule's conditions so many were asked before
  std::vector<Condition> conditions;  // of this step alone: an element of a verdict map
};

struct Rule {
  std::uint32_t number = 0;  // as people see it; the source says of what kind
  std::vector<Condition> conditions;
  std::vector<Step> steps;
};

struct RuleChain {
  std::string name;
  bool is_accepting = true;  // of base chains: the policy
  std::vector<Rule> rules;
};

class RuleChains {
 public:
  // What concerns the connection: a rule of a chain, or the policy of the base chain.
  struct Site {
    ChainId chain = 0;
    std::optional<std::uint32_t> rule;  // its number; nothing: the policy
  };

  ChainId add(RuleChain chain);
  [[nodiscard]] RuleChain& at(ChainId id) { return chains_[id]; }
  [[nodiscard]] const RuleChain& at(ChainId id) const { return chains_[id]; }
  [[nodiscard]] std::size_t size() const noexcept { return chains_.size(); }

  // Nothing: the base chain leaves packets of this kind alone. A jump to a chain that is not here
  // concerns.
  [[nodiscard]] std::optional<Site> find_concern(ChainId base, const Packet& packet) const;

 private:
  std::vector<RuleChain> chains_;
};

// "rule 3", "chain other, rule 3", "policy": seen from its base chain.
std::string to_string(const RuleChains& chains, const RuleChains::Site& site, ChainId base,
                      std::string_view rule_word);

}  // namespace snp::host
