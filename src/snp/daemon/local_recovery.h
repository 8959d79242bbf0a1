// What the keeper knows of a local connection whose engine has died: where its two ends stand, and
// what their sockets are to be refilled with. From records, arenas and the pair's memory alone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "snp/chimney/local_pair.h"
#include "snp/daemon/kept.h"
#include "snp/ipc/flow_record.h"

namespace snp::daemon {

struct LocalCase {
  ipc::FlowId id = ipc::kNoFlow;
  const ipc::FlowRecord* record = nullptr;
  const ipc::SharedMemory* arena = nullptr;  // of its program; nullptr: gone
};
using LocalCases = std::array<LocalCase, 2>;  // by side

// The other end's record, if the two name each other.
ipc::FlowId peer_of(const ipc::FlowRecord* records, ipc::FlowId id) noexcept;

enum class LocalTruth : std::uint8_t {
  kSockets,  // nothing has been taken from either
  kArenas,   // both have been dumped into the rings of their arenas
  kPair,     // the pair's memory has the streams
};
LocalTruth truth_of(const LocalCases& cases) noexcept;

// Can another engine go on with it? Pre: kPair is the truth.
bool can_go_on(const LocalCases& cases, const KeptPair& pair) noexcept;

struct LocalHome {
  std::array<chimney::LocalEnd, 2> ends;
  std::array<bool, 2> is_gone{}, resets{};
  bool is_sane = true;  // else: the words in the pair were impossible, and both are to be reset
};
// Freezes what may still move. Nothing: memory that is named is not there.
std::optional<LocalHome> way_home(const LocalCases& cases, LocalTruth truth, const KeptPair* pair);

}  // namespace snp::daemon
