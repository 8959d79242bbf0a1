// Which attached program has the connection of a given four-tuple: how the other end of a local
// connection is found. Filled as connections become known, and completed by a look at all open
// slots when one is missing. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

#include "snp/base/time.h"
#include "snp/daemon/program.h"
#include "snp/wire/address.h"

namespace snp::daemon {

class PeerIndex {
 public:
  using Programs = std::unordered_map<std::uint32_t, Program*>;  // by number
  struct Place {
    Program* program = nullptr;
    ipc::SlotId slot = ipc::kNoSlot;
  };
  enum class Answer : std::uint8_t { kFound, kNobody, kNotNow };

  explicit PeerIndex(const Programs& programs) : programs_(programs) {}

  void learn(const FourTuple& tuple, const Program& program, ipc::SlotId slot);
  // kNotNow: not known, and it is too early to look at all slots again.
  Answer find(const FourTuple& tuple, Place& out);

 private:
  struct Entry {
    std::uint32_t program = 0;
    ipc::SlotId slot = ipc::kNoSlot;
    std::uint32_t in_use = 0;
  };

  [[nodiscard]] std::optional<Place> check(const Entry& entry) const;
  bool look_up(const FourTuple& tuple, Place& out);
  void scan();

  const Programs& programs_;
  std::map<FourTuple, Entry> entries_;
  std::size_t purge_at_ = 1024;
  Instant scanned_;
};

}  // namespace snp::daemon
