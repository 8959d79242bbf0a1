// Two network namespaces joined by a veth pair, for tests that need a wire of their own:
//
//   left  (10.77.0.1, fd77::1, fe80::1) --- l0 ===== r0 --- right (10.77.0.2, fd77::2, fe80::2)
//
// The namespaces have no names: they live as long as the lab's descriptors and the threads inside,
// so nothing is left behind however a test ends. Needs root.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "snp/base/unique_fd.h"
#include "snp/wire/address.h"

namespace snp::test {

class NetnsLab {
 public:
  struct Side {
    UniqueFd netns;
    std::string device;
    std::uint32_t ifindex = 0;
    std::array<std::uint8_t, 6> mac{};
    IpAddress v4;
    IpAddress v6;
    IpAddress link_local;
  };

  // Aborts the process with one line when the system refuses: no test makes sense then.
  NetnsLab();

  [[nodiscard]] const Side& left() const { return left_; }
  [[nodiscard]] const Side& right() const { return right_; }

  // Runs a command in a namespace and waits; aborts unless it ends with 0.
  static void run_in(const Side& side, const std::vector<std::string>& command);
  // The same; tells whether it ended with 0.
  static bool try_in(const Side& side, const std::vector<std::string>& command);

 private:
  Side left_;
  Side right_;
};

// The calling thread is in `side` for the life of the object.
class InNamespace {
 public:
  explicit InNamespace(const NetnsLab::Side& side);
  InNamespace(const InNamespace&) = delete;
  InNamespace& operator=(const InNamespace&) = delete;
  ~InNamespace();

 private:
  UniqueFd home_;
};

}  // namespace snp::test
