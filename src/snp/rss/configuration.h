// The configuration object of RSSv1 (reference 5.4): what is hashed, with which key, and where the
// table sends it; and moves for several ports in one request (reference 5.5). Pure; owned by one
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/hash_type.h"
#include "snp/rss/indirection_table.h"
#include "snp/rss/packet_fields.h"
#include "snp/rss/toeplitz.h"

namespace snp::rss {

// Flags of the original's parameters. "Unchanged" is a hint that spares a comparison; what is
// marked so is not even read.
enum ParameterFlag : std::uint32_t {
  kBaseCpuUnchanged = 0x01,
  kHashInfoUnchanged = 0x02,
  kTableUnchanged = 0x04,
  kHashKeyUnchanged = 0x08,
  kDisableRss = 0x10,
  kDefaultProcessorUnchanged = 0x20,
};

inline constexpr std::uint32_t kHashFunctionToeplitz = 0x01;  // 0: RSS off; 2, 4, 8 are reserved
inline constexpr std::uint32_t kHashFunctionMask = 0xff;
inline constexpr std::uint32_t kMaxTableEntries = 1024;

struct Parameters {
  std::uint32_t flags = 0;
  CpuId base_cpu = 0;                  // already part of the table
  std::uint32_t hash_information = 0;  // types and function
  std::span<const CpuId> table;        // a power of two of entries
  std::span<const std::uint8_t> key;   // kKeyBytes
  CpuId default_processor = 0;
};

class Configuration {
 public:
  // Off, everything on the affinity CPU.
  explicit Configuration(CpuId affinity_cpu);

  // All of it or nothing. Errors carry the original's names: INVALID_LENGTH, INVALID_PARAMETER,
  // INVALID_DATA, NO_QUEUES.
  Result<> apply(const Parameters& parameters);

  // Where a packet goes, and the hash that says so; no hash: the default CPU.
  struct Placement {
    CpuId cpu = 0;
    std::optional<std::uint32_t> hash;
    HashType type{};
  };
  [[nodiscard]] Placement place(const PacketFields& packet) const;
  [[nodiscard]] Placement place(std::span<const std::byte> packet) const;  // from its IP header on

  [[nodiscard]] IndirectionTable& table() noexcept { return table_; }
  [[nodiscard]] const IndirectionTable& table() const noexcept { return table_; }
  [[nodiscard]] HashTypes types() const noexcept { return types_; }
  [[nodiscard]] const HashKey& key() const noexcept { return key_; }
  [[nodiscard]] CpuId base_cpu() const noexcept { return base_cpu_; }
  // Which of the parameters differed at the last apply(): flags of ParameterFlag that were not
  // true. Hardware is written only for them.
  [[nodiscard]] std::uint32_t changed() const noexcept { return changed_; }

 private:
  static Result<> check(const Parameters& parameters);
  Result<> change_table(const Parameters& parameters);

  CpuId affinity_;
  CpuId base_cpu_ = 0;
  HashTypes types_ = 0;
  HashKey key_{};
  std::shared_ptr<const Toeplitz> hash_;
  IndirectionTable table_;
  std::uint32_t changed_ = 0;
};

// Consecutive moves of one port are a group that succeeds or fails as one; groups are independent.
// `table_of` gives a port's table, nullptr for a port that there is not: INVALID_PORT_STATE. First
// failure of any group, or success. Allocates nothing itself.
MoveStatus move_entries(CpuId actor, std::span<Move> moves,
                        const std::function<IndirectionTable*(std::uint32_t port)>& table_of);

}  // namespace snp::rss
