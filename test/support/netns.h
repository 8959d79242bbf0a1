// A laboratory of anonymous network namespaces for tests that run as root: they have no name, hold
// only what the test puts in, live as long as the test's descriptors and the threads inside, and so
// vanish with the test, however it ends. Whatever the system refuses aborts the test with one line:
// it would make no sense then.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "snp/base/unique_fd.h"
#include "snp/wire/address.h"

namespace snp::test {

// A network namespace, its loopback up; the calling thread moves in with Inside.
class NetNamespace {
 public:
  NetNamespace();
  // As `ip` and `mount` take it.
  [[nodiscard]] std::string path() const;

  // The calling thread is in the namespace for the life of the object.
  class Inside {
   public:
    explicit Inside(const NetNamespace& to);
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside();

   private:
    UniqueFd home_;
  };

  // Runs a command in here and waits; aborts unless it ends with 0. As one text: by the shell.
  void run(const std::vector<std::string>& command) const;
  void run(const std::string& command) const { run({"sh", "-c", command}); }
  // The same; tells whether it ended with 0.
  [[nodiscard]] bool try_run(const std::vector<std::string>& command) const;
  // What a shell command prints.
  [[nodiscard]] std::string output_of(const std::string& command) const;
  void write_sysctl(const std::string& name, const std::string& value) const;
  [[nodiscard]] std::uint32_t ifindex(const std::string& device) const;
  // Returns when packets to the own IPv6 address arrive: "nodad" or not, its local route comes some
  // time after the address and its prefix route.
  void wait_usable(const IpAddress& own) const;

 private:
  UniqueFd fd_;
};

// How a wire is laid out. Number 1 is the left side's.
struct WirePlan {
  const char* left_device;
  const char* right_device;
  std::uint8_t net;  // 10.NET.0.N, and NET's decimal digits as hexadecimal in fdNET::N and the MAC
  // Nothing but the test's own packets flows: neighbours are permanent, and there are no link-local
  // addresses.
  bool is_silent;
};

// Two network namespaces joined by a veth pair, ordinary neighbours:
//
//   left  (10.77.0.1, fd77::1, fe80::1) --- l0 ===== r0 --- right (10.77.0.2, fd77::2, fe80::2)
class NetnsLab {
 public:
  struct Side {
    NetNamespace netns;
    std::string device;
    std::uint32_t ifindex = 0;
    std::array<std::uint8_t, 6> mac{};
    IpAddress v4;
    IpAddress v6;
    IpAddress link_local;
  };
  static constexpr WirePlan kOrdinary = {"l0", "r0", 77, false};

  explicit NetnsLab(const WirePlan& plan = kOrdinary);

  [[nodiscard]] const Side& left() const { return left_; }
  [[nodiscard]] const Side& right() const { return right_; }

  static void run_in(const Side& side, const std::vector<std::string>& command) {
    side.netns.run(command);
  }
  static bool try_in(const Side& side, const std::vector<std::string>& command) {
    return side.netns.try_run(command);
  }

 private:
  Side left_;
  Side right_;
};

class InNamespace : public NetNamespace::Inside {
 public:
  explicit InNamespace(const NetnsLab::Side& side) : Inside(side.netns) {}
};

// A silent wire: `here` has snp0 with 10.9.0.1/24 and fd09::1/64, `there` has snp1 with 10.9.0.2
// and fd09::2.
struct VethPair {
  static constexpr const char* kHereMac = "02:00:00:00:09:01";
  static constexpr const char* kThereMac = "02:00:00:00:09:02";

  NetnsLab wire{{"snp0", "snp1", 9, true}};
  const NetNamespace& here = wire.left().netns;
  const NetNamespace& there = wire.right().netns;
};

}  // namespace snp::test
