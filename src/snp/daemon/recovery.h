// What the keeper does when the engine has died: connections go home, from the flow records and the
// arenas alone, or wait for the next engine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "snp/daemon/kept.h"
#include "snp/daemon/ledger_memory.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

enum class Aim : std::uint8_t {
  kResume,   // what a new engine can go on with waits for it
  kHome,     // everything goes home; only who cannot leave the gate just now waits for it
  kForGood,  // no engine will come: everything goes home
};

struct RecoveryReport {
  std::uint32_t home = 0;      // connections that go on in the host
  std::uint32_t finished = 0;  // were over, or are the kernel's to finish
  std::uint32_t lost = 0;      // the kernel refused to refill the socket
  std::uint32_t waiting = 0;   // parked, steered and recorded as they were
};

// Pre: the engine process is gone. Post: `kept.sockets` holds the connections that wait, and only
// they are steered and have a record. Slots that their programs have closed are released. `note`
// gets one line for each connection that was lost or came home damaged. `ledger`: where what comes
// home is written down; null: nowhere.
RecoveryReport recover(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering, Aim aim,
                       const std::function<void(const std::string&)>& note,
                       const LedgerMemory* ledger = nullptr);

}  // namespace snp::daemon
