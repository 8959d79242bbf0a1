// Programs on a device's clsact qdisc, for kernels without tcx, as polite guests: our own handle
// and priority, nothing of others touched, the qdisc removed only when we made it and nobody else
// uses it. Whether we made it is written in the filters' handle, so that it is known after a kill,
// too.
#pragma once

#include <cstdint>

#include "snp/base/result.h"
#include "snp/steer/device_programs.h"

namespace snp::steer {

// Pre: no programs of ours are on the device (remove_from_clsact() first).
Result<> attach_to_clsact(std::uint32_t ifindex, const DevicePrograms& programs);

// Whether these very programs are there, both.
bool is_attached_to_clsact(std::uint32_t ifindex, const DevicePrograms& programs);

// Takes programs with our names off; none there is no error.
Result<> remove_from_clsact(std::uint32_t ifindex);

}  // namespace snp::steer
