// What the keeper holds so that it outlives the engine: the attached programs with every descriptor
// of theirs, and the parked sockets. A new engine adopts it (control.h, adopt()): the programs then
// notice no more than a pause.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include <sys/types.h>

#include "snp/base/time.h"
#include "snp/base/unique_fd.h"
#include "snp/engine/engine.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/pair.h"

namespace snp::daemon {

struct KeptProgram {
  KeptProgram(std::uint32_t number, ipc::SharedMemory memory);
  KeptProgram(const KeptProgram&) = delete;
  KeptProgram& operator=(const KeptProgram&) = delete;
  ~KeptProgram();  // closes the eventfds of its wait sets

  engine::Arena arena;
  pid_t pid = 0;
  uid_t uid = 0;
  std::string name;
  UniqueFd session;  // snpd's end of its control socket
  UniqueFd pidfd;
  UniqueFd control_bell;
};

// The memory of local connections and the eventfds of those who wait for them.
struct KeptPair {
  ipc::SharedMemory memory;
  std::array<std::uint32_t, 2> programs{};  // by side
  std::array<std::map<ipc::LaneId, UniqueFd>, 2> lanes;
};

struct Kept {
  std::unordered_map<std::uint32_t, std::unique_ptr<KeptProgram>> programs;  // by arena number
  std::unordered_map<ipc::FlowId, UniqueFd> sockets;
  std::unordered_map<ipc::PairNumber, KeptPair> pairs;
  Instant since;  // when the engine died, or was seen dead
};

// Replaces the eventfd of a wait set. Pre: id < kWaitSets.
void keep_wait_set(KeptProgram& program, ipc::WaitSetId id, UniqueFd eventfd);

// Gives the parked sockets up. Never waits, whatever SO_LINGER of an application says.
void close_sockets(std::unordered_map<ipc::FlowId, UniqueFd>& sockets);

}  // namespace snp::daemon
