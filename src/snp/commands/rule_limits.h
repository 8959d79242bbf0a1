// What policy rules may say of the treatment of a connection: as the settings may.
#pragma once

#include <cstdint>

#include "snp/chimney/rules.h"

namespace snp::commands {

chimney::RuleLimits rule_limits(std::uint32_t shards);

}  // namespace snp::commands
