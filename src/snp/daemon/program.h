// An attached process: its arena, the books about its ring space and its slots. Control thread
// only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include <sys/types.h>

#include "snp/base/unique_fd.h"
#include "snp/chimney/reason.h"
#include "snp/daemon/identity.h"
#include "snp/daemon/path_memo.h"
#include "snp/daemon/ring_allocator.h"
#include "snp/daemon/running_timeout.h"
#include "snp/daemon/slot_access.h"
#include "snp/engine/engine.h"
#include "snp/ipc/flow_record.h"
#include "snp/wire/address.h"

namespace snp::daemon {

// What is known of one use of a slot, from its allocation to its release.
struct SlotNote {
  std::uint32_t in_use = 0;  // the generation that this note is about
  std::optional<FourTuple> tuple;
  ipc::FlowId flow = ipc::kNoFlow;
  std::uint32_t hand_overs = 0;
  std::uint32_t quiet_us = 0;  // of the last one
  std::uint32_t attempts = 0;  // of the offload that is being tried
  Instant gap_since{};         // that it waits for segments out of order; 0: it does not
  bool is_queued = false;
  std::uint64_t question = 0;                 // to clients with a veto (event_desk.h)
  std::uint64_t local_in = 0, local_out = 0;  // bytes of earlier stays at the local target
  bool is_indexed = false;                    // PeerIndex knows of it
  PathMemo path;
  RunningTimeout running_timeout;
};

class Session;

class Program {
 public:
  Program(std::uint32_t its_number, pid_t its_pid, std::string its_name, UniqueFd its_pidfd,
          UniqueFd its_control_bell, engine::Arena& its_arena)
      : number(its_number),
        pid(its_pid),
        name(std::move(its_name)),
        pidfd(std::move(its_pidfd)),
        control_bell(std::move(its_control_bell)),
        arena(&its_arena),
        rings(ipc::kRingsOffset, its_arena.memory.size() - ipc::kRingsOffset) {}

  // Pre: the arena is there, id < kSlots.
  [[nodiscard]] ipc::Slot& slot(ipc::SlotId id) const { return slot_at(arena->memory, id); }

  // The note about the present use of a slot; a new one when the slot was used anew.
  SlotNote& note(ipc::SlotId id);

  // A duplicate of the socket behind a slot. Not open: there is none, or the slot changed hands
  // meanwhile.
  [[nodiscard]] UniqueFd take_socket(ipc::SlotId id) const;

  // The tuple of a slot, asked from the kernel once a use.
  std::optional<FourTuple> tuple_of(ipc::SlotId id);

  std::uint32_t number;
  pid_t pid;
  std::string name;
  Identity identity;  // as of identity_read; see facts_of()
  Instant identity_read;
  UniqueFd pidfd;
  UniqueFd control_bell;       // eventfd: it wants the control thread to look
  Session* session = nullptr;  // nullptr: lost
  engine::Arena* arena;        // nullptr: detached
  RingAllocator rings;
  std::uint32_t flows = 0;          // offloaded, or on their way
  std::uint32_t hand_overs_on = 0;  // asked for or running
  bool has_ended = false;           // process dead, or session lost
  // What of its origins' tallies (ipc::OriginRow) has been taken.
  struct Tally {
    std::uint32_t generation = 0, short_lived = 0, missed = 0;
    std::uint64_t missed_calls = 0, missed_bytes = 0;
  };
  std::array<Tally, ipc::kOrigins> tallies{};

 private:
  std::unordered_map<ipc::SlotId, SlotNote> notes_;
};

}  // namespace snp::daemon
