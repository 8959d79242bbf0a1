// The two programs of a device, however they are hooked in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace snp::steer {

struct DevicePrograms {
  int ingress_fd = -1;
  int egress_fd = -1;
};

inline constexpr const char* kIngressName = "snp_ingress";  // as in bpf/steer.bpf.c
inline constexpr const char* kEgressName = "snp_egress";

// "eth0", or "device 7" when that is gone.
std::string device_name(std::uint32_t ifindex);

// 0: no program.
std::uint32_t id_of(int program_fd);
// What stands where ours could is ours when it has our name, whichever process loaded it.
bool has_name(std::uint32_t program_id, std::string_view name);

}  // namespace snp::steer
