// The devices that snpd serves when nobody names any.
#pragma once

#include <string>
#include <vector>

namespace snp::daemon {

// Ethernet devices of this network namespace that are up; `lo` is none.
std::vector<std::string> links_that_are_up();

}  // namespace snp::daemon
