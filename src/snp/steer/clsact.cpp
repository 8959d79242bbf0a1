#include "snp/steer/clsact.h"

#include <algorithm>
#include <array>
#include <string>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "snp/base/unique_fd.h"

namespace snp::steer {
namespace {

constexpr std::uint32_t kPriority = 3;
constexpr std::uint32_t kHandleGuest = 0x534e01;  // clsact was there before us
constexpr std::uint32_t kHandleOwner = 0x534e02;  // we made it
constexpr std::array kHandles = {kHandleGuest, kHandleOwner};

struct Direction {
  bpf_tc_attach_point point;
  const char* program;
  std::uint32_t parent;
};
constexpr Direction kIngress = {BPF_TC_INGRESS, kIngressName,
                                TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)};
constexpr Direction kEgress = {BPF_TC_EGRESS, kEgressName, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)};
constexpr std::array kDirections = {kIngress, kEgress};

bpf_tc_hook make_hook(std::uint32_t ifindex, bpf_tc_attach_point point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = point;
  return hook;
}

bpf_tc_opts make_options(std::uint32_t handle) {
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.handle = handle;
  options.priority = kPriority;
  return options;
}

// The program of the filter at that handle; 0: there is none.
std::uint32_t program_at(std::uint32_t ifindex, const Direction& direction, std::uint32_t handle) {
  const bpf_tc_hook hook = make_hook(ifindex, direction.point);
  bpf_tc_opts options = make_options(handle);
  return ::bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

// Whether a filter of ours stands at that handle; a stranger's stays where it is.
bool is_ours(std::uint32_t ifindex, const Direction& direction, std::uint32_t handle) {
  const std::uint32_t program = program_at(ifindex, direction, handle);
  return program != 0 && has_name(program, direction.program);
}

struct FilterDumpRequest {
  nlmsghdr header{};
  tcmsg message{};
};

// Reads one answer of a dump: 1: it names a filter, 0: go on, -1: the end, or an error.
int read_filter_dump(int fd) {
  alignas(nlmsghdr) std::array<char, 32768> buffer;
  const ssize_t received = ::recv(fd, buffer.data(), buffer.size(), 0);
  if (received <= 0) return -1;
  auto left = static_cast<std::uint32_t>(received);
  for (auto* h = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(h, left);
       h = NLMSG_NEXT(h, left)) {
    if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) return -1;
    if (h->nlmsg_type == RTM_NEWTFILTER) return 1;
  }
  return 0;
}

// libbpf can look at one filter but not list them.
bool has_filters(std::uint32_t ifindex, const Direction& direction) {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.is_open()) return true;
  FilterDumpRequest request;
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETTFILTER;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.message.tcm_family = AF_UNSPEC;
  request.message.tcm_ifindex = static_cast<int>(ifindex);
  request.message.tcm_parent = direction.parent;
  if (::send(fd.get(), &request, sizeof(request), 0) < 0) return true;
  int found = 0;
  while (found == 0)
    found = read_filter_dump(fd.get());
  return found > 0;
}

// Post: clsact is there. True: we made it.
Result<bool> make_clsact(std::uint32_t ifindex) {
  bpf_tc_hook hook =
      make_hook(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int error = -::bpf_tc_hook_create(&hook);
  if (error == 0) return true;
  if (error == EEXIST) return false;
  return fail_errno("cannot make a clsact qdisc on " + device_name(ifindex), error);
}

void remove_clsact_if_unused(std::uint32_t ifindex) {
  for (const Direction& direction : kDirections)
    if (has_filters(ifindex, direction)) return;
  bpf_tc_hook hook =
      make_hook(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  ::bpf_tc_hook_destroy(&hook);
}

Result<> attach_one(std::uint32_t ifindex, const Direction& direction, int program,
                    std::uint32_t handle) {
  const bpf_tc_hook hook = make_hook(ifindex, direction.point);
  bpf_tc_opts options = make_options(handle);
  options.prog_fd = program;
  const int error = -::bpf_tc_attach(&hook, &options);
  if (error == 0) return {};
  return fail_errno("cannot attach " + std::string(direction.program) + " to " +
                        device_name(ifindex) + " (see `tc filter show dev " + device_name(ifindex) +
                        (direction.point == BPF_TC_INGRESS ? " ingress" : " egress") +
                        "`; an ingress qdisc in place of clsact, or another filter of priority " +
                        std::to_string(kPriority) + ", is in the way)",
                    error);
}

}  // namespace

Result<> attach_to_clsact(std::uint32_t ifindex, const DevicePrograms& programs) {
  auto is_made = make_clsact(ifindex);
  if (!is_made) return tl::unexpected(is_made.error());
  const std::uint32_t handle = *is_made ? kHandleOwner : kHandleGuest;
  // The fence first: an ingress program alone would let the host answer what it no longer sees.
  auto result = attach_one(ifindex, kEgress, programs.egress_fd, handle);
  if (result) result = attach_one(ifindex, kIngress, programs.ingress_fd, handle);
  if (!result) {
    const Error error = result.error();
    (void)remove_from_clsact(ifindex);
    if (*is_made) remove_clsact_if_unused(ifindex);
    return tl::unexpected(error);
  }
  return {};
}

bool is_attached_to_clsact(std::uint32_t ifindex, const DevicePrograms& programs) {
  const auto is_at = [&](const Direction& direction, int program_fd) {
    return std::any_of(kHandles.begin(), kHandles.end(), [&](std::uint32_t handle) {
      const std::uint32_t program = program_at(ifindex, direction, handle);
      return program != 0 && program == id_of(program_fd);
    });
  };
  return is_at(kIngress, programs.ingress_fd) && is_at(kEgress, programs.egress_fd);
}

Result<> remove_from_clsact(std::uint32_t ifindex) {
  bool was_owner = false;
  for (const Direction& direction : kDirections) {
    for (const std::uint32_t handle : kHandles) {
      if (!is_ours(ifindex, direction, handle)) continue;
      const bpf_tc_hook hook = make_hook(ifindex, direction.point);
      const bpf_tc_opts options = make_options(handle);
      const int error = -::bpf_tc_detach(&hook, &options);
      if (error != 0)
        return fail_errno(
            "cannot take " + std::string(direction.program) + " off " + device_name(ifindex),
            error);
      was_owner |= handle == kHandleOwner;
    }
  }
  if (was_owner) remove_clsact_if_unused(ifindex);
  return {};
}

}  // namespace snp::steer
