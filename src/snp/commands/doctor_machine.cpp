// What the machine gives: system calls and privileges, each tried or read, nothing changed.
#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "snp/base/unique_fd.h"
#include "snp/commands/findings.h"

namespace snp::commands {
namespace {

using Kind = Finding::Kind;

bool is_refusal(int error) {
  return error == EPERM || error == EACCES;
}

Finding examine_kernel() {
  utsname name{};
  ::uname(&name);
  return {Kind::kGood, "kernel", std::string(name.sysname) + " " + name.release, ""};
}

std::uint64_t effective_capabilities() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("CapEff:")) return std::stoull(line.substr(7), nullptr, 16);
  return 0;
}

Findings examine_privileges() {
  constexpr struct {
    int number;
    const char* name;
    const char* what;
  } kNeeded[] = {{CAP_NET_ADMIN, "CAP_NET_ADMIN", "park sockets and steer packets"},
                 {CAP_NET_RAW, "CAP_NET_RAW", "receive and send frames"},
                 {CAP_BPF, "CAP_BPF", "load steering programs"}};
  const std::uint64_t has = effective_capabilities();
  Findings findings;
  for (const auto& each : kNeeded) {
    const bool is_there = (has >> each.number & 1) != 0 ||
                          (each.number == CAP_BPF && (has >> CAP_SYS_ADMIN & 1) != 0);
    if (!is_there)
      findings.push_back({Kind::kWrong, "privilege",
                          std::string(each.name) + " is missing, to " + each.what,
                          "start snpd as root, or with this capability"});
  }
  if (findings.empty())
    findings.push_back({Kind::kGood, "privilege", "all that snpd needs is there", ""});
  return findings;
}

Finding examine_repair() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0)
    return {Kind::kGood, "TCP_REPAIR", "sockets can be parked", ""};
  if (is_refusal(errno))
    return {Kind::kWrong, "TCP_REPAIR", "sockets cannot be parked: CAP_NET_ADMIN is missing",
            "start snpd as root"};
  return {Kind::kWrong, "TCP_REPAIR", "this kernel cannot take a socket's state out",
          "it must be built with CONFIG_CHECKPOINT_RESTORE"};
}

Finding examine_packet_sockets() {
  const UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket.is_open() && is_refusal(errno))
    return {Kind::kWrong, "AF_PACKET", "no packet sockets: CAP_NET_RAW is missing",
            "start snpd as root"};
  if (!socket.is_open())
    return {Kind::kWrong, "AF_PACKET", "this kernel has no packet sockets",
            "it must be built with CONFIG_PACKET"};
  const int version = TPACKET_V2;
  if (::setsockopt(socket.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0)
    return {Kind::kWrong, "AF_PACKET", "packet sockets have no rings (TPACKET_V2)",
            "a newer kernel is needed"};
  return {Kind::kGood, "AF_PACKET", "packet sockets with rings", ""};
}

// A map of one entry, gone at once.
Finding examine_bpf() {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_HASH;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  const UniqueFd map(
      static_cast<int>(::syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes)));
  if (map.is_open()) return {Kind::kGood, "BPF", "maps and programs can be made", ""};
  if (is_refusal(errno))
    return {Kind::kWrong, "BPF", "no BPF: CAP_BPF is missing", "start snpd as root"};
  return {Kind::kWrong, "BPF", "this kernel has no BPF system call",
          "it must be built with CONFIG_BPF_SYSCALL"};
}

// Each offloaded connection holds descriptors of snpd.
Finding examine_descriptors() {
  constexpr rlim_t kFew = 65536;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string text = "at most " + std::to_string(limit.rlim_max) + " descriptors";
  if (limit.rlim_max >= kFew) return {Kind::kGood, "descriptors", text, ""};
  return {Kind::kNote, "descriptors", text + ", which bounds the offloaded connections",
          "raise the limit (LimitNOFILE= of the service, ulimit -Hn)"};
}

}  // namespace

Findings examine_machine() {
  Findings findings = {examine_kernel()};
  for (Finding& finding : examine_privileges())
    findings.push_back(std::move(finding));
  for (Finding& finding :
       Findings{examine_repair(), examine_packet_sockets(), examine_bpf(), examine_descriptors()})
    findings.push_back(std::move(finding));
  return findings;
}

}  // namespace snp::commands
