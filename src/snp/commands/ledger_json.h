// The ledger as JSON and as text.
#pragma once

#include <optional>
#include <string>

#include "snp/commands/command.h"
#include "snp/commands/service.h"

namespace snp::commands {

// "tcp" and "ip": by counter {"host", "target", "local", "total", "corrected"}; host is null where
// Linux does not count it so.
Json ledger_json(const stats::LedgerSources& sources);
Json ledger_json(const stats::LedgerSources& sources, stats::Family family);
// {"name", "ifindex", "link", "tcp", "ip"}.
Json ledger_json(const DeviceLedger& device);

// Tables of what ledger_json() gave.
std::string render_ledger(const Json& ledger);
std::string render_device_ledger(const Json& device);

// Rows {"name", "kind", "sentence", "whose"} of all counters, or of those of the name; nothing:
// none has it.
std::optional<Json> explain_counters(const std::string& name);
std::string render_explanations(const Json& rows);

}  // namespace snp::commands
