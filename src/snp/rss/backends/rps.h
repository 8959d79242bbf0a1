// Receive packet steering: the kernel spreads packets by its own hash over a mask of CPUs. Our
// table gives only the mask. Control thread.
#pragma once

#include <memory>
#include <string>

#include "snp/rss/backends/backend.h"
#include "snp/rss/backends/journal.h"
#include "snp/rss/backends/sysfs.h"

namespace snp::rss {

// `sysfs` and `journal` outlive it. Pre: sysfs.shows(device).
std::unique_ptr<Backend> make_rps(std::string device, std::uint32_t ifindex, const Sysfs& sysfs,
                                  Journal& journal);

// Puts back what the journal has for this device, and forgets it. `device` may have gone.
Result<> restore_rps(const std::string& device, std::uint32_t ifindex, const Sysfs& sysfs,
                     Journal& journal);

}  // namespace snp::rss
