// One ledger: what the host's counters say, what the target has counted, and what of the host's is
// not its own doing, put together so that each segment and byte belongs to exactly one of them
// (reference 3.4, 4.12). Pure: figures in, figures out.
//
// Who has a received frame is decided once, by the steering program on the device's ingress hook:
// what it keeps from the host is the target's, whatever becomes of it; what it lets pass is the
// host's, even if a shard has seen a copy. A frame that the target gives back passes the host's
// counters then, and is the host's. Who has a sent segment is decided by who put it on the device:
// what the host sent and the egress fence dropped is nobody's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "snp/stats/metric.h"
#include "snp/stats/stats_block.h"

namespace snp::stats {

enum class Family : std::uint8_t { kV4 = 0, kV6 = 1 };
inline constexpr std::size_t kFamilies = 2;

// A row of the ledger.
enum class Mib : std::uint16_t {
#define SNP_MIB(symbol, group, name, kind, meaning, whose) symbol,
#include "snp/stats/mib.def"
#undef SNP_MIB
  kCount,
};
inline constexpr std::size_t kMibCounters = static_cast<std::size_t>(Mib::kCount);

enum class MibGroup : std::uint8_t { kTcp, kIp };

struct MibInfo {
  std::string_view name;
  MibGroup group = MibGroup::kTcp;
  Kind kind = Kind::kCounter;
  std::string_view meaning;  // of a rising value
  std::string_view whose;
};
std::span<const MibInfo> all_mib_counters() noexcept;  // index: Mib

// Values by Mib; what a source does not have is 0.
class MibValues {
 public:
  [[nodiscard]] std::uint64_t operator[](Mib counter) const noexcept {
    return values_[static_cast<std::size_t>(counter)];
  }
  std::uint64_t& operator[](Mib counter) noexcept {
    return values_[static_cast<std::size_t>(counter)];
  }

 private:
  std::array<std::uint64_t, kMibCounters> values_{};
};

// What the kernel of this namespace has counted. TCP has one set for both families.
struct HostCounters {
  MibValues tcp;
  std::array<MibValues, kFamilies> ip;
};

using PathCounters = Snapshot<PathMetric>;

struct LedgerSources {
  HostCounters host;
  std::array<PathCounters, kFamilies> paths;
  std::uint64_t own_resets = 0;   // EstabResets of the kernel by disconnects of hand-overs
  std::uint64_t own_repeats = 0;  // OutSegs of the kernel that were no new segments
  std::uint64_t parked = 0;       // sockets in ESTABLISHED that are only held
  std::uint64_t local_ends = 0;   // connections of the local target, both ends
};

struct LedgerRow {
  std::optional<std::uint64_t> host;  // nothing: the kernel does not count this by family
  std::uint64_t target = 0, local = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return host.value_or(0) + target + local; }
};

// Of both families together, or of one.
LedgerRow ledger_row(const LedgerSources& sources, Mib counter);
LedgerRow ledger_row(const LedgerSources& sources, Mib counter, Family family);
// What of the kernel's counter is not the host's own doing: its part of the row is without it.
std::uint64_t correction(const LedgerSources& sources, Mib counter);
// The target's part of a row.
std::uint64_t target_part(const PathCounters& path, Mib counter);

}  // namespace snp::stats
