// Whose a BPF program is. Control thread.
#pragma once

#include <cstdint>
#include <string>

namespace snp::host {

// How the programs of ours are named (bpf/).
inline constexpr const char* kOurPrograms = "snp_";

// The name of somebody else's program; "id 7" when it has none. Empty: ours, or gone by now.
std::string name_of_stranger(std::uint32_t program_id);

}  // namespace snp::host
