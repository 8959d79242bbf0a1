// A netlink socket that hears what others change. Control thread.
#pragma once

#include <functional>
#include <initializer_list>

#include <libmnl/libmnl.h>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::host {

class Notifications {
 public:
  // `groups`: multicast groups of the protocol, by number. kUnsupported: the kernel has not got the
  // protocol.
  static Result<Notifications> open(int protocol, std::initializer_list<int> groups);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Takes all that has come. True: `concerns` said so of a message, or some were lost.
  bool drain(const std::function<bool(const nlmsghdr&)>& concerns);

 private:
  UniqueFd fd_;
};

}  // namespace snp::host
