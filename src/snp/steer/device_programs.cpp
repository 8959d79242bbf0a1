#include "snp/steer/device_programs.h"

#include <array>

#include <linux/bpf.h>
#include <net/if.h>

#include <bpf/bpf.h>

#include "snp/base/unique_fd.h"

namespace snp::steer {
namespace {

bpf_prog_info info_of(int program_fd) {
  bpf_prog_info info{};
  std::uint32_t length = sizeof(info);
  if (::bpf_obj_get_info_by_fd(program_fd, &info, &length) != 0) return {};
  return info;
}

}  // namespace

std::string device_name(std::uint32_t ifindex) {
  std::array<char, IF_NAMESIZE> name{};
  if (::if_indextoname(ifindex, name.data()) == nullptr) return "device " + std::to_string(ifindex);
  return name.data();
}

std::uint32_t id_of(int program_fd) {
  return info_of(program_fd).id;
}

bool has_name(std::uint32_t program_id, std::string_view name) {
  const UniqueFd fd(::bpf_prog_get_fd_by_id(program_id));
  return fd.is_open() && name == info_of(fd.get()).name;
}

}  // namespace snp::steer
