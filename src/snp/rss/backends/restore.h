// Puts back what an ended process had changed on devices. Any thread.
#pragma once

#include <functional>
#include <string>

#include "snp/rss/backends/journal.h"
#include "snp/rss/backends/sysfs.h"

namespace snp::rss {

// All that the journal has; `say` gets a line for what cannot be put back, which stays there.
void restore_devices(Journal& journal, const Sysfs& sysfs,
                     const std::function<void(const std::string&)>& say);

}  // namespace snp::rss
