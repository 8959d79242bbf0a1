// What the keeper does when the engine has died: every connection goes home, from the flow records
// and the arenas alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "snp/base/unique_fd.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/shared_memory.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

// An arena as the keeper holds it.
struct KeptArena {
  ipc::SharedMemory memory;
  std::vector<std::atomic<int>> eventfds;  // of its wait sets; owned
  explicit KeptArena(ipc::SharedMemory mapped);
  KeptArena(const KeptArena&) = delete;
  KeptArena& operator=(const KeptArena&) = delete;
  ~KeptArena();
};

struct Kept {
  std::unordered_map<std::uint32_t, std::unique_ptr<KeptArena>> arenas;
  std::unordered_map<ipc::FlowId, UniqueFd> sockets;
};

struct RecoveryReport {
  std::uint32_t home = 0;      // connections that go on in the host
  std::uint32_t finished = 0;  // were over but for TIME_WAIT
  std::uint32_t lost = 0;      // the kernel refused to refill the socket
};

// Pre: the engine process is gone. Post: no flow is steered, every record is free, `kept` holds
// nothing. `note` gets one line for each connection that was lost or came home damaged.
RecoveryReport bring_all_home(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering,
                              const std::function<void(const std::string&)>& note);

}  // namespace snp::daemon
