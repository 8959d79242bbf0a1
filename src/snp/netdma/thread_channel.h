// The backend `thread`: an engine in software. A thread of its own copies what it finds in a ring
// without locks. It spins for a short while after its last copy and then sleeps, so that an idle
// one costs nothing; only then does submit() make a system call.
#pragma once

#include <limits>
#include <memory>

#include "snp/base/time.h"
#include "snp/netdma/channel.h"

namespace snp::netdma {

struct ThreadOptions {
  std::uint32_t depth = 256;  // a power of two
  // Where it runs; -1: anywhere but on the CPU of whoever submits, as long as there is another
  // that the process may use.
  int cpu = -1;
  Duration spin = microseconds(50);
  std::size_t streaming_from = std::numeric_limits<std::size_t>::max();  // as CpuOptions
  std::uint32_t number = 0;                                              // in the thread's name
};

// Makes the thread. It ends with the channel.
Result<std::unique_ptr<Channel>> open_thread_channel(const ThreadOptions& options = {});

}  // namespace snp::netdma
