#include "snp/host/xfrm_rules.h"

#include <algorithm>
#include <memory>
#include <tuple>

namespace snp::host {
namespace {

using Rules = std::vector<XfrmRule>;

bool is_for_others(const XfrmRule& rule) {
  return rule.is_for_others;
}

bool decides(const XfrmRule& rule, const Packet& packet) {
  return !rule.may_not_match && match(rule.conditions, packet) == Match::kYes;
}

// Is it this policy that takes the packet, or may it be?
bool may_take(const Rules& policies, std::size_t which, const FlowView& view) {
  const XfrmRule& wanted = policies[which];
  const Packet packet = packet_of(view, wanted.heading);
  if (wanted.lets_pass || match(wanted.conditions, packet) == Match::kNo) return false;
  return std::none_of(policies.begin(), policies.begin() + static_cast<std::ptrdiff_t>(which),
                      [&](const XfrmRule& before) {
                        return before.heading == wanted.heading && decides(before, packet);
                      });
}

bool concerns_state(const XfrmRule& state, const FlowView& view) {
  return match(state.conditions, packet_of(view, Heading::kIn)) != Match::kNo ||
         match(state.conditions, packet_of(view, Heading::kOut)) != Match::kNo;
}

}  // namespace

Features features_of_xfrm(Rules policies, Rules states) {
  std::erase_if(policies, is_for_others);
  std::erase_if(states, is_for_others);
  std::sort(policies.begin(), policies.end(), [](const XfrmRule& a, const XfrmRule& b) {
    return std::tie(a.order, a.index) < std::tie(b.order, b.index);
  });
  const auto ordered = std::make_shared<const Rules>(std::move(policies));
  Features features;
  for (std::size_t which = 0; which < ordered->size(); ++which)
    if (const XfrmRule& policy = (*ordered)[which]; !policy.lets_pass)
      features.push_back(
          {chimney::Reason::kIpsec, policy.what,
           [ordered, which](const FlowView& view) { return may_take(*ordered, which, view); }});
  for (XfrmRule& state : states)
    features.push_back({chimney::Reason::kIpsec, state.what,
                        [state](const FlowView& view) { return concerns_state(state, view); }});
  return features;
}

}  // namespace snp::host
