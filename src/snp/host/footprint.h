// What hand-overs do to the kernel's own TCP counters beside frames: a disconnect in repair mode
// counts as a reset of an established connection (EstabResets), and what unpark() sends once more
// counts as new (OutSegs). Counted here exactly where it is done, so that the ledger can take it
// off. What parked sockets are in CurrEstab is known from the records; forged frames are counted by
// who gives them. Nothing else of Tcp and Ip in /proc/net/snmp moves
// (doc/decisions/0014-one-ledger.md).
#pragma once

#include <atomic>
#include <cstdint>

namespace snp::host {

struct Footprint {
  std::atomic<std::uint64_t> resets{0};
  std::atomic<std::uint64_t> repeats{0};
};

// Of this process, and of those that it forks once count_footprint_in() has named shared memory.
Footprint& footprint() noexcept;
// Before there are threads. `to` outlives them all.
void count_footprint_in(Footprint& to) noexcept;

}  // namespace snp::host
