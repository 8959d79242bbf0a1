// What the host has with which neither Chimney nor NetDMA goes together (reference 3.2), as
// commands show it.
#pragma once

#include <span>
#include <string>

#include "snp/commands/command.h"

namespace snp::commands {

// One object for each: reason, what, is_respected, hint.
Json to_json(std::span<const FeatureRow> rows);
// Only those that no setting overrules.
Json respected_json(std::span<const FeatureRow> rows);

// Of one such object: "firewall: nftables: table inet guard, chain in".
std::string feature_name(const Json& feature);
// For whom NetDMA is not there, a sentence without the full stop.
std::string not_for(const Json& feature);

}  // namespace snp::commands
