// Any text as policy rules. What is accepted is accepted again line by line, with the same meaning
// for a connection.
#include <cstdint>

#include "snp/base/assert.h"
#include "snp/chimney/policy.h"

using namespace snp;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const chimney::RuleLimits limits{{"host", "cubic"}, 16384, 1 << 30, 4};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto rules = chimney::parse_rules(text, "r", limits);
  if (!rules) {
    SNP_ASSERT(rules.error().message.substr(0, 2) == "r:");
    return 0;
  }
  chimney::Facts facts;
  facts.flow = {{IpAddress::v4(10, 0, 0, 1), 80}, {IpAddress::v4(10, 0, 0, 2), 40000}};
  facts.program_path = "/usr/sbin/nginx";
  facts.uid = 33;
  facts.interface = "eth0";
  const chimney::Rule* match = chimney::find_rule(*rules, facts);
  for (const chimney::Rule& rule : *rules) {
    const auto again = chimney::parse_rules(rule.text, "r", limits);
    SNP_ASSERT(again.has_value() && again->size() == 1);
    SNP_ASSERT(again->front().action == rule.action);
    const bool is_match = chimney::find_rule(*again, facts) != nullptr;
    SNP_ASSERT(!is_match || match != nullptr);
    if (&rule == match) SNP_ASSERT(is_match);
  }
  return 0;
}
