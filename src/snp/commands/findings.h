// What `snp doctor` finds: one line each, with what to do.
#pragma once

#include <string>
#include <vector>

#include "snp/commands/service.h"

namespace snp::commands {

struct Finding {
  enum class Kind {
    kGood,
    kNote,   // as it is meant to be, but worth knowing
    kWrong,  // something does not work, or not as asked
  };
  Kind kind = Kind::kGood;
  std::string about;  // "kernel", "device eth0", "setting dca"
  std::string text;   // a sentence
  std::string hint;   // what to do; empty: nothing
};

using Findings = std::vector<Finding>;

// Of kernel and privileges, as the process that asks sees them.
Findings examine_machine();
// Of what runs: snpd, its devices, what else is on this host, settings without effect. Pure.
Findings examine_snpd(Service& service);

}  // namespace snp::commands
