// Runs a packet script against one connection in virtual time. Times are exact unless the script
// gives a range.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "test/script/endpoint.h"
#include "test/script/script.h"

namespace snp::script {

// Where the connection is given away and taken back while a script runs. What a hand-over may
// change, and is allowed for: the ACK that is owed leaves early, our timestamps are a tick ahead,
// timers, which travel in ms, expire up to 1 ms early.
struct Placement {
  HandOver kind = HandOver::kOrderly;
  // Between event `gap` and the next one; nothing: in each gap.
  std::optional<std::size_t> gap;
  bool is_midway = false;  // half-way in time to the next event; else at once after the event
};

// Empty: everything happened as written. Else "path:line:column: ...", with what was expected and
// what came.
std::string run(const Script& script, const std::optional<Placement>& placement = {});

}  // namespace snp::script
