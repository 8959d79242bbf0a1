// A laboratory of anonymous network namespaces for tests that run as root: they have no name, hold
// only what the test puts in, and vanish with the test, however it ends.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

#include "snp/base/assert.h"
#include "snp/base/unique_fd.h"

namespace snp::test {

// A network namespace; the calling thread moves in with Inside.
class NetNamespace {
 public:
  NetNamespace() {
    const UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    SNP_ASSERT(::unshare(CLONE_NEWNET) == 0);
    fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    SNP_ASSERT(::setns(home.get(), CLONE_NEWNET) == 0);
    run("ip link set lo up");
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  // As `ip` and `mount` take it.
  [[nodiscard]] std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
  }

  class Inside {
   public:
    explicit Inside(const NetNamespace& to)
        : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
      SNP_ASSERT(::setns(to.fd(), CLONE_NEWNET) == 0);
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { SNP_ASSERT(::setns(home_.get(), CLONE_NEWNET) == 0); }

   private:
    UniqueFd home_;
  };

  // Runs a shell command in here; its failure ends the test.
  void run(const std::string& command) const { SNP_ASSERT(try_run(command) == 0); }
  [[nodiscard]] int try_run(const std::string& command) const {
    const Inside inside(*this);
    return std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe): tests only
  }
  // What a command prints.
  [[nodiscard]] std::string output_of(const std::string& command) const {
    const Inside inside(*this);
    std::string output;
    FILE* pipe = ::popen(command.c_str(), "r");
    SNP_ASSERT(pipe != nullptr);
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
      output.push_back(static_cast<char>(c));
    ::pclose(pipe);
    return output;
  }
  void write_sysctl(const std::string& name, const std::string& value) const {
    const Inside inside(*this);
    std::ofstream file("/proc/sys/net/" + name);
    file << value << std::flush;
    SNP_ASSERT(file.good());
  }
  [[nodiscard]] std::uint32_t ifindex(const std::string& device) const {
    const Inside inside(*this);
    return ::if_nametoindex(device.c_str());
  }

 private:
  UniqueFd fd_;
};

// Two namespaces joined by a veth pair: `here` has snp0 with 10.9.0.1/24 and fd09::1/64, `there`
// has snp1 with 10.9.0.2 and fd09::2. Neighbours are permanent, so that nothing but the test's own
// packets flows.
struct VethPair {
  NetNamespace here;
  NetNamespace there;

  static constexpr const char* kHereMac = "02:00:00:00:09:01";
  static constexpr const char* kThereMac = "02:00:00:00:09:02";

  VethPair() {
    for (const NetNamespace* ns : {&here, &there}) {
      ns->write_sysctl("ipv6/conf/default/accept_dad", "0");
      ns->write_sysctl("ipv6/conf/default/dad_transmits", "0");
      ns->write_sysctl("ipv6/conf/default/router_solicitations", "0");
    }
    here.run(std::string("ip link add snp0 address ") + kHereMac +
             " type veth peer name snp1 address " + kThereMac + " netns " + there.path());
    here.run(
        "ip addr add 10.9.0.1/24 dev snp0 && ip addr add fd09::1/64 dev snp0 nodad && "
        "ip link set snp0 up");
    there.run(
        "ip addr add 10.9.0.2/24 dev snp1 && ip addr add fd09::2/64 dev snp1 nodad && "
        "ip link set snp1 up");
    here.run(std::string("ip neigh replace 10.9.0.2 lladdr ") + kThereMac +
             " dev snp0 nud permanent && ip neigh replace fd09::2 lladdr " + kThereMac +
             " dev snp0 nud permanent");
    there.run(std::string("ip neigh replace 10.9.0.1 lladdr ") + kHereMac +
              " dev snp1 nud permanent && ip neigh replace fd09::1 lladdr " + kHereMac +
              " dev snp1 nud permanent");
  }
};

}  // namespace snp::test
