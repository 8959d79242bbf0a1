// The memories that pairs of attached processes share for their local connections (ipc/pair.h): who
// has one, which places and rings in it are taken, the lanes of both sides, and when it goes. The
// books are kept here, out of the processes' reach. Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/time.h"
#include "snp/base/unique_fd.h"
#include "snp/daemon/event_loop.h"
#include "snp/daemon/keeper_link.h"
#include "snp/daemon/program.h"
#include "snp/daemon/ring_allocator.h"
#include "snp/ipc/pair.h"
#include "snp/ipc/shared_memory.h"

namespace snp::daemon {

// A slot in one of its uses.
struct SlotUse {
  std::uint32_t program = 0;  // its number
  ipc::SlotId slot = ipc::kNoSlot;
  std::uint32_t in_use = 0;
};

// A connection's place in a pair.
struct PairSeat {
  ipc::PairIndex index = 0;
  std::array<std::uint64_t, 2> rings{};  // by the side that writes; offsets into the memory
  std::uint32_t ring_size = 0;           // of each
};

struct Pair {
  ipc::PairNumber number = ipc::kNoPair;
  std::array<Program*, 2> programs{};  // by side; both the same when a process talks to itself
  ipc::SharedMemory memory;
  RingAllocator rings;
  std::array<std::map<ipc::LaneId, UniqueFd>, 2> lanes;  // eventfds, by the side that waits
  std::set<ipc::PairIndex> free_indexes;
  ipc::PairIndex fresh_index = 0;  // from here on nobody has had one
  std::uint32_t connections = 0;   // that sit here, also those that rest
  Instant empty_since;

  Pair(ipc::PairNumber its_number, ipc::SharedMemory its_memory)
      : number(its_number),
        memory(std::move(its_memory)),
        rings(ipc::kPairRingsOffset, memory.size() - ipc::kPairRingsOffset) {}

  [[nodiscard]] ipc::PairConnection& connection(ipc::PairIndex index) const noexcept {
    return memory.at<ipc::PairConnection>(ipc::pair_connection_offset(index));
  }
  [[nodiscard]] ipc::Lane& lane(std::uint32_t side, ipc::LaneId id) const noexcept {
    return memory.at<ipc::Lane>(ipc::lane_offset(side, id));
  }
  [[nodiscard]] StreamRing ring(const PairSeat& seat, std::uint32_t writer) const noexcept {
    return {memory.data() + seat.rings[writer], seat.ring_size};
  }
};

class Pairs {
 public:
  struct Surroundings {
    EventLoop& loop;
    KeeperLink& keeper;
    // A binary message to a program's switch, in order. False: its queue is full or it is gone.
    std::function<bool(const Program&, std::span<const std::byte>, std::span<const int>)> send;
    std::function<bool(const Program&)> has_unsent;       // some message still waits in our queue
    std::function<bool(int)> ring;                        // an eventfd; false: it blocks, forget it
    std::function<Program*(std::uint32_t)> find_program;  // that is attached; by number
    ipc::PairNumber first = 1;                            // of the pairs that it makes
  };
  explicit Pairs(Surroundings surroundings) : env_(std::move(surroundings)), next_(env_.first) {}

  // The pair of two programs, made if need be with `bytes` of memory. kBusy: one of them has not
  // been told yet; try again later.
  Result<Pair*> between(Program& a, Program& b, std::size_t bytes);
  [[nodiscard]] Pair* find(ipc::PairNumber number);

  // A place with two rings; nothing when there is no room.
  std::optional<PairSeat> seat(Pair& pair, std::uint32_t ring_size);
  // As a dead engine had given it: false when it is taken, or can never have been given.
  bool take_seat(Pair& pair, const PairSeat& seat);
  // The connection is over, or elsewhere: the place is given out again once no call of either
  // process can be inside. Pre: their gates were closed since, or they have ended.
  void leave(Pair& pair, const PairSeat& seat, const std::array<SlotUse, 2>& users);
  // A closed slot, when no call is inside any more: its program may use it anew.
  void release_when_left(const SlotUse& use);

  // A waiter of `program`. False: nonsense, the session ends.
  bool add_lane(const Program& program, ipc::PairNumber number, std::uint32_t side, ipc::LaneId id,
                UniqueFd eventfd);
  // Tells the waiters of a side of what happened at `index`.
  void wake(Pair& pair, std::uint32_t side, ipc::PairIndex index);

  // For a new engine: a pair that its predecessor had.
  void adopt(ipc::PairNumber number, ipc::SharedMemory memory, std::array<Program*, 2> programs,
             std::array<std::map<ipc::LaneId, UniqueFd>, 2> lanes);

  void end_program(const Program& program);  // before it is deleted

 private:
  // A lane that its other side has not been told of yet: it is rung once more when that is done.
  struct LateLane {
    ipc::PairNumber pair = ipc::kNoPair;
    std::uint32_t side = 0;
    ipc::LaneId id = 0;
  };
  struct Resting {
    ipc::PairNumber pair = ipc::kNoPair;
    PairSeat seat;
    std::array<SlotUse, 2> users;
    std::array<bool, 2> has_left{};
  };
  using Key = std::pair<std::uint32_t, std::uint32_t>;  // program numbers, by side

  Result<Pair*> make(Program& a, Program& b, std::size_t bytes);
  bool announce(Pair& pair, std::uint32_t side);
  bool forward(Pair& pair, std::uint32_t side, ipc::LaneId id, int eventfd);
  void ring(Pair& pair, std::uint32_t side, ipc::LaneId id);
  bool ring_if_told(const LateLane& lane);
  void free_seat(Pair& pair, const PairSeat& seat);
  [[nodiscard]] bool has_left(const SlotUse& use) const;
  void look_again_later();
  void look_again();
  bool release_if_left(const SlotUse& use);
  void remove_if_empty(ipc::PairNumber number);
  void remove(Pair& pair);

  Surroundings env_;
  std::map<ipc::PairNumber, std::unique_ptr<Pair>> pairs_;
  std::map<Key, Pair*> by_programs_;
  std::vector<Resting> resting_;
  std::vector<SlotUse> releasing_;
  std::vector<LateLane> late_lanes_;
  ipc::PairNumber next_;
  Duration patience_{};
  bool is_looking_ = false;
};

}  // namespace snp::daemon
