// How the torture program waits for its sockets; every style that programs use.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace snp::torture {

// Of each connection: what it waits for, and what is known to be possible.
struct Interest {
  int fd = -1;
  bool wants_read = false, wants_write = false;
  bool can_read = false, can_write = false;
};

class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  virtual ~Waiter() = default;

  // Sets can_read and can_write of those that are ready; waits at most timeout_ms for one.
  virtual void wait(std::vector<Interest>& interests, int timeout_ms) = 0;
};

// "level", "edge", "poll" or "select"; null for another word.
std::unique_ptr<Waiter> make_waiter(const std::string& style);

}  // namespace snp::torture
