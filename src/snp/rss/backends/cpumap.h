// An XDP program (bpf/spread.bpf.c) with our hash and table, and a CPU map behind it: each packet
// goes on in a kernel thread of its CPU, with GRO there where the kernel has it (Linux 6.15).
// Program and map live as long as the object: a killed process leaves nothing. Control thread.
#pragma once

#include <memory>
#include <string>

#include "snp/rss/backends/backend.h"

namespace snp::rss {

// Where the program runs. Native XDP makes new buffers without what a frame's sender promised of
// its checksum, so it is not for veth and its like (design section 6); generic XDP keeps it, and
// copies frames that are not in one piece.
enum class XdpMode : std::uint8_t { kNative, kGeneric };

// kUnsupported: this kernel cannot load it, or the device not run it; kBusy: somebody else's XDP
// program is there; kDenied: a privilege is missing. Nothing is attached before apply().
Result<std::unique_ptr<Backend>> make_cpumap(std::string device, std::uint32_t ifindex,
                                             XdpMode mode);

}  // namespace snp::rss
