// What the fake snpd knows of a program: for its own sources only.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include "snp/base/assert.h"
#include "snp/ipc/slot_gate.h"
#include "snp/state/stream_ring.h"

#include "test/programs/fake_snpd.h"

namespace snp::test {

inline constexpr std::size_t kArenaSize = ipc::kRingsOffset + 256 * 1024 * 1024;

inline bool wait_for_users(const ipc::Slot& slot) {
  for (int i = 0; i < 2000 && ipc::has_users(slot); ++i)
    ::usleep(1);
  return !ipc::has_users(slot);
}

// A parked socket has SO_KEEPALIVE off, and what was set meanwhile stands in the slot.
inline void restore_options(int socket, const ipc::Slot& slot) {
  if (slot.app.options_generation.load() == 0) return;
  const int on = slot.facts.options.keepalive;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

struct FakeSnpd::Flow {
  ipc::SlotId id = 0;
  ipc::Slot* slot = nullptr;
  UniqueFd socket;  // duplicate of the application's
  StreamRing rx, tx;
  std::uint64_t consumed = 0;  // position up to which bytes were taken out of the socket
  bool has_shut_down = false;
  bool is_going_home = false;
  int turns_on_the_way = 0;
};

struct FakeSnpd::Session {
  UniqueFd control, process, control_bell, shard_bell;
  ipc::SharedMemory arena;
  ipc::Slot* slots = nullptr;
  ipc::WaitSet* wait_sets = nullptr;
  ipc::Doorbells* doorbells = nullptr;
  std::map<ipc::WaitSetId, UniqueFd> wait_set_fds;
  std::map<ipc::SlotId, std::unique_ptr<Flow>> flows;
  std::map<ipc::SlotId, std::uint32_t> asked;  // slot -> in_use when it asked
  std::vector<std::uint64_t> free_rings;
  std::uint64_t next_ring = ipc::kRingsOffset;
  std::vector<ipc::WaitSetId> touched;
  bool is_gone = false;
  struct Names {
    std::string local, remote;  // socket addresses
    std::uint32_t in_use = 0;
    int tries_left = 50;  // a call may have been inside the gate
  };
  std::map<ipc::SlotId, Names> names;  // of those that asked
  std::vector<ipc::SlotId> to_try_again;
  struct Outgoing {
    std::string bytes;
    std::vector<UniqueFd> fds;
    int ring_after = -1;  // an eventfd, of those that `lane_fds` holds
  };
  std::deque<Outgoing> outgoing;  // what the program's queue had no room for yet

  std::uint64_t take_ring(std::uint32_t size) {
    if (free_rings.empty()) {
      next_ring += size;
      SNP_ASSERT(next_ring <= kArenaSize);
      return next_ring - size;
    }
    const std::uint64_t ring = free_rings.back();
    free_rings.pop_back();
    return ring;
  }
};

struct FakeSnpd::LocalPair {
  ipc::PairNumber number = 0;
  Session* session[2] = {};
  ipc::SharedMemory memory;
  std::uint64_t next_ring = ipc::kPairRingsOffset;
  ipc::PairIndex next_index = 0;
  std::vector<std::pair<ipc::PairIndex, std::uint64_t>> free;  // with their rings
  std::map<ipc::LaneId, UniqueFd> bells[2];
  std::size_t in_use = 0;
};

struct FakeSnpd::LocalFlow {
  LocalPair* pair = nullptr;
  ipc::PairIndex index = 0;
  std::uint64_t rings = 0;
  ipc::SlotId id[2] = {};
  UniqueFd socket[2];
  bool is_closed[2] = {};
  bool is_leaving = false;  // waits until no call is inside any more

  [[nodiscard]] ipc::Slot& slot(std::size_t side) const {
    return pair->session[side]->slots[id[side]];
  }
  [[nodiscard]] ipc::PairEnd& end(std::size_t side) const {
    return pair->memory.at<ipc::PairConnection>(ipc::pair_connection_offset(index)).end[side];
  }
  // What `side` writes into.
  [[nodiscard]] StreamRing ring(std::size_t side, std::uint32_t size) const {
    return {pair->memory.data() + rings + side * size, size};
  }
};

}  // namespace snp::test
