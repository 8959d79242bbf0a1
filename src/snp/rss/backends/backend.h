// How one device spreads the host's packets over CPUs, with our hash and table as far as it can:
// the card's own table, an XDP program with a CPU map, or RPS. What was there before is written
// into a journal first, so that a later process can put it back (journal.h). Control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/hash_type.h"
#include "snp/rss/indirection_table.h"
#include "snp/rss/toeplitz.h"

namespace snp::rss {

enum class BackendKind : std::uint8_t { kNone, kCard, kCpumap, kRps };

std::string_view to_string(BackendKind kind) noexcept;  // as the setting rss_backend names it

// What a device is told. `table`: a power of two of entries, each a CPU that is online.
struct HostDistribution {
  HashTypes types = 0;
  HashKey key{};
  std::vector<CpuId> table;
  CpuId default_cpu = 0;  // of packets without a hash
};

// What a device does now, as read back from it.
struct BackendState {
  std::vector<CpuId> cpus;            // that receive, in order
  std::vector<CpuId> table;           // CPU of each bucket; empty: there is no such table
  std::vector<std::uint32_t> queues;  // the card's table: queue of each bucket
  std::string remark;  // what differs from what was asked, one sentence; may be empty
};

class Backend {
 public:
  virtual ~Backend() = default;

  [[nodiscard]] virtual BackendKind kind() const noexcept = 0;
  // All of it or nothing: on an error the device is as before the call. Called again when anything
  // has changed. kUnsupported: the device cannot do this (any more); kNotFound: it is gone.
  virtual Result<> apply(const HostDistribution& wanted) = 0;
  // Packets of each bucket since some moment; empty: this device counts nothing. Where only queues
  // are counted, each bucket of a queue has an equal part.
  virtual Result<std::vector<std::uint64_t>> bucket_packets() = 0;
  // An error: the device is gone, has lost the feature, or somebody else has changed it.
  virtual Result<BackendState> look() = 0;
  // As it was before the first apply(). A device that is gone is no error.
  virtual Result<> undo() = 0;
  // What somebody else has set stays: there is nothing to undo any more.
  virtual void release() = 0;
};

}  // namespace snp::rss
