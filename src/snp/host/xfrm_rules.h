// XFRM's policies and states, reduced to what says whether a connection is concerned. Pure.
//
// Of the policies of a direction the first that selects the packet counts, by priority: one that
// lets it pass as it is hides those behind it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snp/host/features.h"
#include "snp/host/packet_match.h"

namespace snp::host {

struct XfrmRule {
  std::string what;
  Heading heading = Heading::kOut;     // of a policy; a state is for both
  std::uint32_t order = 0, index = 0;  // of a policy: the smaller first
  bool lets_pass = false;              // a policy without a transform
  bool is_for_others = false;          // never TCP
  bool may_not_match = false;          // it asks for more than the conditions say
  std::vector<Condition> conditions;
};

// One feature for each rule that is not for others.
Features features_of_xfrm(std::vector<XfrmRule> policies, std::vector<XfrmRule> states);

}  // namespace snp::host
