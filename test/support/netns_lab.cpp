#include "test/support/netns_lab.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snp::test {
namespace {

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "netns lab: %s: %s (needs root and iproute2)\n", what.c_str(),
               ::strerrordesc_np(errno));
  std::abort();
}

UniqueFd open_own_netns() {
  UniqueFd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) die("open /proc/thread-self/ns/net");
  return fd;
}

void enter(const UniqueFd& netns) {
  if (::setns(netns.get(), CLONE_NEWNET) != 0) die("setns");
}

// Makes a namespace and comes back.
UniqueFd make_netns() {
  const UniqueFd home = open_own_netns();
  if (::unshare(CLONE_NEWNET) != 0) die("unshare(CLONE_NEWNET)");
  UniqueFd made = open_own_netns();
  enter(home);
  return made;
}

void configure(NetnsLab::Side& side, int host_number) {
  const std::string number = std::to_string(host_number);
  const auto ip = [&side](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    NetnsLab::run_in(side, arguments);
  };
  ip({"link", "set", "lo", "up"});
  ip({"link", "set", side.device, "addrgenmode", "none", "address", "02:00:00:00:77:0" + number});
  ip({"link", "set", side.device, "up"});
  ip({"addr", "add", "10.77.0." + number + "/24", "dev", side.device});
  ip({"addr", "add", "fd77::" + number + "/64", "dev", side.device, "nodad"});
  ip({"addr", "add", "fe80::" + number + "/64", "dev", side.device, "nodad"});
  side.mac = {2, 0, 0, 0, 0x77, static_cast<std::uint8_t>(host_number)};
  side.v4 = IpAddress::v4(10, 77, 0, static_cast<std::uint8_t>(host_number));
  side.v6.bytes = {0xfd, 0x77};
  side.link_local.bytes = {0xfe, 0x80};
  side.v6.bytes[15] = side.link_local.bytes[15] = static_cast<std::uint8_t>(host_number);
  const InNamespace inside(side);
  side.ifindex = ::if_nametoindex(side.device.c_str());
  if (side.ifindex == 0) die("if_nametoindex");
}

}  // namespace

NetnsLab::NetnsLab() {
  left_.netns = make_netns();
  right_.netns = make_netns();
  left_.device = "l0";
  right_.device = "r0";
  const std::string right_path =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(right_.netns.get());
  run_in(left_, {"ip", "link", "add", left_.device, "type", "veth", "peer", "name", right_.device,
                 "netns", right_path});
  configure(left_, 1);
  configure(right_, 2);
}

bool NetnsLab::try_in(const Side& side, const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    if (::setns(side.netns.get(), CLONE_NEWNET) == 0) ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void NetnsLab::run_in(const Side& side, const std::vector<std::string>& command) {
  if (try_in(side, command)) return;
  std::string line;
  for (const std::string& word : command)
    line += word + ' ';
  errno = 0;
  die("command failed: " + line);
}

InNamespace::InNamespace(const NetnsLab::Side& side) : home_(open_own_netns()) {
  enter(side.netns);
}

InNamespace::~InNamespace() {
  enter(home_);
}

}  // namespace snp::test
