// A watch of what the kernel announces over netlink: whatever is announced, look() again. Control
// thread only.
#pragma once

#include <utility>

#include "snp/host/features.h"
#include "snp/host/notifications.h"

namespace snp::host {

class NotifiedWatch : public FeatureWatch {
 public:
  explicit NotifiedWatch(Notifications notifications) : notifications_(std::move(notifications)) {}

  [[nodiscard]] int fd() const noexcept override { return notifications_.fd(); }
  bool drain() override {
    return notifications_.drain([](const nlmsghdr&) { return true; });
  }

 private:
  Notifications notifications_;
};

}  // namespace snp::host
