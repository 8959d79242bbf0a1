// The policy in force, made from the settings and the file of rules. Control thread only.
#pragma once

#include <string>

#include "snp/base/result.h"
#include "snp/chimney/policy.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

class PolicyBook {
 public:
  // Rules that are wrong are refused as a whole; `name` is the file's, for the error.
  Result<> set_rules(const std::string& text, const std::string& name,
                     const settings::Settings& settings);
  void follow(const settings::Settings& settings);

  [[nodiscard]] const chimney::Policy& policy() const noexcept { return policy_; }

 private:
  chimney::Policy policy_;
};

}  // namespace snp::daemon
