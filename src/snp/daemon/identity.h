// Who a process is, for policy: what the kernel says of it now. A process may change its user, its
// cgroup and, by exec, its program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <sys/types.h>

namespace snp::daemon {

struct Identity {
  std::string path;                  // of its executable; empty: it cannot be told
  std::optional<std::uint32_t> uid;  // effective
  std::string cgroup;                // version 2; empty: it cannot be told
};

Identity read_identity(pid_t pid);

}  // namespace snp::daemon
