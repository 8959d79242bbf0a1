#include "snp/host/program_names.h"

#include <cerrno>
#include <string_view>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "snp/base/unique_fd.h"

namespace snp::host {

std::string name_of_stranger(std::uint32_t program_id) {
  const UniqueFd fd(::bpf_prog_get_fd_by_id(program_id));
  bpf_prog_info info{};
  std::uint32_t length = sizeof(info);
  std::string number = "id " + std::to_string(program_id);
  if (!fd.is_open()) return errno == ENOENT ? std::string() : number;
  if (::bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return number;
  const std::string_view name = info.name;
  if (name.starts_with(kOurPrograms)) return {};
  return name.empty() ? number : std::string(name);
}

}  // namespace snp::host
