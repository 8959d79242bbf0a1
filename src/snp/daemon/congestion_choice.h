// Which congestion control an offloaded connection gets. Pure.
#pragma once

#include <string_view>

#include "snp/state/connection_state.h"

namespace snp::daemon {

// cached.congestion_control holds the host socket's and gets the engine's. What the program has
// chosen, which is what differs from the system's default, is honoured when the engine has it; else
// the setting decides ("host": as the host does it).
void choose_congestion_control(std::string_view setting, std::string_view system_default,
                               CachedState& cached) noexcept;

}  // namespace snp::daemon
