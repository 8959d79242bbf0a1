// The engine process: devices, shards and the control thread. Started by the keeper.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "snp/daemon/keeper_link.h"
#include "snp/daemon/kept.h"
#include "snp/daemon/learning.h"
#include "snp/daemon/ledger_memory.h"
#include "snp/daemon/options.h"
#include "snp/ipc/shared_memory.h"
#include "snp/rss/toeplitz.h"
#include "snp/settings/config_file.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

// What the keeper made before the fork; it outlives the engine.
struct Inheritance {
  int listener = -1;
  ipc::SharedMemory* records = nullptr;   // FlowRecord[kFlowRecords]
  ipc::SharedMemory* bulletin = nullptr;  // Bulletin
  LearnedMemory* learned = nullptr;
  steer::Steering* steering = nullptr;
  LedgerMemory* ledger = nullptr;
  std::vector<DeviceChoice> devices;
  settings::Settings config;  // at this start of the engine
  std::string rules;          // of policy, as text; likewise
  Options options;
  rss::HashKey hash_key{};  // secret, the same for each engine of this keeper
  pid_t keeper_pid = 0;
  std::uint32_t restarts = 0;
  std::uint32_t max_connections = 0;
};

// Exit statuses of the engine process; anything else is a crash.
inline constexpr int kEngineStopped = 0;
inline constexpr int kEngineCannotStart = 3;
inline constexpr int kEngineCannotResume = 4;  // what an engine before it had; the keeper can

// `kept`: what an engine before this one left; the keeper has its own copies of everything.
int run_engine(const Inheritance& inheritance, Kept& kept, UniqueFd keeper_socket);

}  // namespace snp::daemon
