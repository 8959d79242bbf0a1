#include "test/support/netns.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
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

std::string two_digits(std::uint8_t number) {
  return (number < 10 ? "0" : "") + std::to_string(number);
}

std::string mac_of(const WirePlan& plan, int number) {
  return "02:00:00:00:" + two_digits(plan.net) + ":0" + std::to_string(number);
}

std::string v4_of(const WirePlan& plan, int number) {
  return "10." + std::to_string(plan.net) + ".0." + std::to_string(number);
}

std::string v6_of(const WirePlan& plan, int number) {
  return "fd" + two_digits(plan.net) + "::" + std::to_string(number);
}

// Decimal digits read as hexadecimal: 77 is 0x77.
std::uint8_t as_written(std::uint8_t number) {
  return static_cast<std::uint8_t>(number / 10 * 16 + number % 10);
}

void be_silent(const NetNamespace& netns) {
  netns.write_sysctl("ipv6/conf/default/accept_dad", "0");
  netns.write_sysctl("ipv6/conf/default/dad_transmits", "0");
  netns.write_sysctl("ipv6/conf/default/router_solicitations", "0");
}

void configure(NetnsLab::Side& side, const WirePlan& plan, int number) {
  const auto ip = [&side](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    side.netns.run(arguments);
  };
  const std::string& device = side.device;
  ip({"link", "set", device, "addrgenmode", "none", "address", mac_of(plan, number)});
  ip({"link", "set", device, "up"});
  ip({"addr", "add", v4_of(plan, number) + "/24", "dev", device});
  ip({"addr", "add", v6_of(plan, number) + "/64", "dev", device, "nodad"});
  if (plan.is_silent) {
    const int other = 3 - number;
    for (const std::string& address : {v4_of(plan, other), v6_of(plan, other)})
      ip({"neigh", "replace", address, "lladdr", mac_of(plan, other), "dev", device, "nud",
          "permanent"});
  } else {
    ip({"addr", "add", "fe80::" + std::to_string(number) + "/64", "dev", device, "nodad"});
  }
  const auto last = static_cast<std::uint8_t>(number);
  side.mac = {2, 0, 0, 0, as_written(plan.net), last};
  side.v4 = IpAddress::v4(10, plan.net, 0, last);
  side.v6.bytes = {0xfd, as_written(plan.net)};
  side.link_local.bytes = {0xfe, 0x80};
  side.v6.bytes[15] = side.link_local.bytes[15] = last;
  side.ifindex = side.netns.ifindex(device);
  if (side.ifindex == 0) die("if_nametoindex");
}

}  // namespace

NetNamespace::NetNamespace() {
  const UniqueFd home = open_own_netns();
  if (::unshare(CLONE_NEWNET) != 0) die("unshare(CLONE_NEWNET)");
  fd_ = open_own_netns();
  enter(home);
  run({"ip", "link", "set", "lo", "up"});
}

std::string NetNamespace::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
}

NetNamespace::Inside::Inside(const NetNamespace& to) : home_(open_own_netns()) {
  enter(to.fd_);
}

NetNamespace::Inside::~Inside() {
  enter(home_);
}

void NetNamespace::run(const std::vector<std::string>& command) const {
  if (try_run(command)) return;
  std::string line;
  for (const std::string& word : command)
    line += word + ' ';
  errno = 0;
  die("command failed: " + line);
}

bool NetNamespace::try_run(const std::vector<std::string>& command) const {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    if (::setns(fd_.get(), CLONE_NEWNET) == 0) ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string NetNamespace::output_of(const std::string& command) const {
  const Inside inside(*this);
  std::string output;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) die("popen");
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
    output.push_back(static_cast<char>(c));
  ::pclose(pipe);
  return output;
}

void NetNamespace::write_sysctl(const std::string& name, const std::string& value) const {
  const Inside inside(*this);
  std::ofstream file("/proc/sys/net/" + name);
  file << value << std::flush;
  if (!file.good()) die("sysctl " + name);
}

std::uint32_t NetNamespace::ifindex(const std::string& device) const {
  const Inside inside(*this);
  return ::if_nametoindex(device.c_str());
}

void NetNamespace::wait_usable(const IpAddress& own) const {
  const Inside inside(*this);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  socklen_t length = sizeof to;
  auto* const address = reinterpret_cast<sockaddr*>(&to);
  const UniqueFd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::bind(fd.get(), address, length) != 0) die("bind");
  if (::getsockname(fd.get(), address, &length) != 0) die("getsockname");
  std::memcpy(&to.sin6_addr, own.bytes.data(), sizeof to.sin6_addr);
  pollfd arrival{fd.get(), POLLIN, 0};
  for (int tries = 0; tries < 3000; ++tries) {
    char echo = 0;
    ::sendto(fd.get(), &echo, sizeof echo, 0, address, length);
    if (::poll(&arrival, 1, 10) == 1 && ::recv(fd.get(), &echo, sizeof echo, MSG_DONTWAIT) == 1)
      return;
  }
  die("an own IPv6 address");
}

NetnsLab::NetnsLab(const WirePlan& plan) {
  left_.device = plan.left_device;
  right_.device = plan.right_device;
  if (plan.is_silent) {
    be_silent(left_.netns);
    be_silent(right_.netns);
  }
  left_.netns.run({"ip", "link", "add", left_.device, "type", "veth", "peer", "name", right_.device,
                   "netns", right_.netns.path()});
  configure(left_, plan, 1);
  configure(right_, plan, 2);
  left_.netns.wait_usable(left_.v6);
  right_.netns.wait_usable(right_.v6);
}

}  // namespace snp::test
