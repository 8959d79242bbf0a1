// Programs on a device's tcx hooks (Linux 6.6): no qdisc, less work per packet than clsact, and
// they come and go without a packet lost. First in line, since what stands before may end the line;
// other owners' programs are left alone. They stay when the process ends, as filters at clsact do.
#pragma once

#include <cstdint>

#include "snp/base/result.h"
#include "snp/steer/device_programs.h"

namespace snp::steer {

// Whether the kernel has tcx.
bool has_tcx();

// Pre: no programs of ours are on the device (remove_from_tcx() first).
Result<> attach_to_tcx(std::uint32_t ifindex, const DevicePrograms& programs);

// Whether these very programs are there, both.
bool is_attached_to_tcx(std::uint32_t ifindex, const DevicePrograms& programs);

// Takes programs with our names off; none there, or no tcx, is no error.
Result<> remove_from_tcx(std::uint32_t ifindex);

}  // namespace snp::steer
