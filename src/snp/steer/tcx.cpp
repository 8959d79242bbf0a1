#include "snp/steer/tcx.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "snp/base/unique_fd.h"

namespace snp::steer {
namespace {

// Of linux/bpf.h in Linux 6.6; Debian 12's headers are older.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);   // BPF_TCX_EGRESS
constexpr unsigned kBefore = 1u << 3;                           // BPF_F_BEFORE: nobody named: first
constexpr std::uint32_t kMostPrograms = 64;                     // BPF_MPROG_MAX

struct Direction {
  bpf_attach_type type;
  const char* program;
};
constexpr Direction kIngress = {kTcxIngress, kIngressName};
constexpr Direction kEgress = {kTcxEgress, kEgressName};

// The kernel has no such hook, or the device is gone.
bool is_nothing_there(int error) {
  return error == EINVAL || error == ENODEV || error == ENOENT;
}

Result<std::vector<std::uint32_t>> programs_at(std::uint32_t ifindex, const Direction& direction) {
  std::vector<std::uint32_t> ids(kMostPrograms);
  std::uint32_t count = kMostPrograms;
  std::uint32_t flags = 0;
  if (::bpf_prog_query(static_cast<int>(ifindex), direction.type, 0, &flags, ids.data(), &count) !=
      0)
    return fail_errno("cannot list the tcx programs of " + device_name(ifindex));
  ids.resize(std::min(count, kMostPrograms));
  return ids;
}

Result<> attach_one(std::uint32_t ifindex, const Direction& direction, int program) {
  if (::bpf_prog_attach(program, static_cast<int>(ifindex), direction.type, kBefore) == 0)
    return {};
  return fail_errno("cannot attach " + std::string(direction.program) + " to the tcx hook of " +
                    device_name(ifindex) + " (another owner's program may insist on being first)");
}

Result<> remove_one(std::uint32_t ifindex, const Direction& direction) {
  const auto programs = programs_at(ifindex, direction);
  if (!programs) {
    if (is_nothing_there(programs.error().sys_errno)) return {};
    return tl::unexpected(programs.error());
  }
  for (const std::uint32_t id : *programs) {
    if (!has_name(id, direction.program)) continue;
    const UniqueFd program(::bpf_prog_get_fd_by_id(id));
    if (::bpf_prog_detach2(program.get(), static_cast<int>(ifindex), direction.type) != 0 &&
        !is_nothing_there(errno))
      return fail_errno("cannot take " + std::string(direction.program) + " off " +
                        device_name(ifindex));
  }
  return {};
}

}  // namespace

bool has_tcx() {
  constexpr std::uint32_t kLoopback = 1;
  const auto programs = programs_at(kLoopback, kIngress);
  return programs.has_value() || programs.error().sys_errno != EINVAL;
}

Result<> attach_to_tcx(std::uint32_t ifindex, const DevicePrograms& programs) {
  // The fence first: an ingress program alone would let the host answer what it no longer sees.
  auto result = attach_one(ifindex, kEgress, programs.egress_fd);
  if (result) result = attach_one(ifindex, kIngress, programs.ingress_fd);
  if (!result) (void)remove_from_tcx(ifindex);
  return result;
}

bool is_attached_to_tcx(std::uint32_t ifindex, const DevicePrograms& programs) {
  const auto is_at = [&](const Direction& direction, int program_fd) {
    const auto ids = programs_at(ifindex, direction);
    return ids && std::find(ids->begin(), ids->end(), id_of(program_fd)) != ids->end();
  };
  return is_at(kIngress, programs.ingress_fd) && is_at(kEgress, programs.egress_fd);
}

Result<> remove_from_tcx(std::uint32_t ifindex) {
  // The fence last.
  if (auto removed = remove_one(ifindex, kIngress); !removed) return removed;
  return remove_one(ifindex, kEgress);
}

}  // namespace snp::steer
