// snpd's log: lines on stderr; with the priority prefixes of the journal when it reads them.
#pragma once

#include <string>

namespace snp::daemon {

void open_log(const std::string& level);
void set_log_level(const std::string& level);

}  // namespace snp::daemon
