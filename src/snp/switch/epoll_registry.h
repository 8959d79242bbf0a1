// Where the instances and registrations of the process live.
#pragma once

#include "snp/switch/epoll_instance.h"
#include "snp/switch/memory.h"

namespace snp::switch_ {

struct EpollRegistry {
  Lock lock;  // guards Connection::entries and the pool of entries; taken before an instance's
  Pool<EpollInstance, ipc::kWaitSets * 4> instances;
  Pool<EpollEntry, ipc::kSlots * 4, NoLock> entries;
};

EpollRegistry& epoll_registry() noexcept;

}  // namespace snp::switch_
