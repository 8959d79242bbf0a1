// The local target: both ends of a connection are attached programs of this host, and their bytes
// go through the memory that the two share (doc/decisions/0005). Here is what happens to streams
// and memory; sockets and gates are the offloader's. Control thread only.
//
// The ends of a connection are flows of their own. They come and go together: initiate() and
// terminate() act when both ends have asked; their answers wait for dispatch().
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "snp/chimney/local_pair.h"
#include "snp/chimney/target.h"
#include "snp/daemon/accounts.h"
#include "snp/daemon/pairs.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/pair_stream.h"

namespace snp::daemon {

class LocalTarget final : public chimney::Target {
 public:
  using Id = chimney::ConnectionId;

  // What the target must know of an end before initiate(); `flow` is its record's index too.
  struct End {
    Id flow = ipc::kNoFlow;
    Program* program = nullptr;
    SlotUse use;
  };
  struct Counters {
    std::uint64_t connections = 0, bytes = 0;  // bytes: both directions, read by programs
  };
  struct Traffic {
    std::uint64_t in = 0, out = 0;  // of one end's program, since the offload
  };

  // `past_bytes`: counts what connections that are over have carried.
  LocalTarget(Pairs& pairs, ipc::FlowRecord* records, std::uint64_t& past_bytes)
      : pairs_(pairs), records_(records), past_bytes_(past_bytes) {}

  // Two ends that are about to be offloaded together: `ends` by side. They share the seat, which is
  // given up when both are over, or by forget().
  void couple(Pair& pair, const PairSeat& seat, const std::array<End, 2>& ends);
  // As couple(), for a connection that an engine before this one has initiated: initiated() is the
  // answer, and initiate() has nothing to do.
  void adopt(Pair& pair, const PairSeat& seat, const std::array<End, 2>& ends);
  [[nodiscard]] bool knows(Id id) const { return couples_.contains(id); }
  [[nodiscard]] Id peer_of(Id id) const;

  // chimney::Target. The handoffs are settled (chimney/local_pair.h), and their bytes go into the
  // rings of the pair; then record and slot name them. Answers: initiated() for both.
  void initiate(const chimney::Handoff& handoff) override;
  // Pre: the gates of both ends are closed, or their process is dead. Streams are frozen whoever is
  // inside, and come back as two settled handoffs: terminated() for both. Else upload_requested()
  // for the other end.
  void terminate(Id id, Duration patience) override;
  void update(Id /*id*/, const CachedState& /*cached*/) override {}  // there is no path
  void release_frames(Id /*id*/, const FourTuple& /*tuple*/,
                      std::span<const std::byte> /*forged_segment*/) override {}

  // One end has reset the other: it stays here until both are closed. Then the errno that its
  // program sees (RFC 9293 3.10.7.4, as Linux names it).
  [[nodiscard]] bool is_reset(Id id) const;
  [[nodiscard]] int error_of(Id id) const;

  // Of an end that has been taken apart: the application had closed it, and its reset is still to
  // be said.
  struct LastWords {
    bool is_gone = false, is_reset = false, is_hostile = false;
    Traffic traffic;
  };
  [[nodiscard]] LastWords last_words(Id id) const;
  // Both ends of it are home or lost: the seat is given up.
  void forget(Id id);

  // The application has closed its end and said so to the peer itself (died: we say it). finished()
  // for both when both have: until then the socket of the first is kept, for its FIN or reset is
  // still to be said should the other one go home.
  void on_closed(Id id);
  void on_died(Id id);

  void dispatch(chimney::TargetEvents& events);
  [[nodiscard]] bool has_answers() const noexcept { return !answers_.empty(); }

  [[nodiscard]] std::optional<Traffic> traffic(Id id) const;
  // Where the streams stand that its peer and it have written.
  [[nodiscard]] std::optional<Positions> positions(Id id) const;
  [[nodiscard]] Counters counters() const;
  // Gives the pages of rings back whose connections have stood still since the last call. Closes
  // and opens their gates for a moment; leaves alone who is inside.
  void trim();

 private:
  enum class Phase : std::uint8_t { kCoupled, kCarried, kApart };
  struct Couple {
    Pair* pair = nullptr;
    PairSeat seat;
    std::array<End, 2> ends;
    Phase phase = Phase::kCoupled;
    std::array<std::optional<chimney::Handoff>, 2> arrived;  // initiate()
    std::array<bool, 2> is_asked{};                          // terminate()
    std::array<bool, 2> is_over{};
    std::array<std::uint64_t, 2> first_head{};  // tx_head when it was offloaded
    std::array<LastWords, 2> words;             // kApart
    std::uint64_t seen = 0;                     // trim(): sum of all positions
    bool is_trimmed = true;
  };
  using Answer = std::function<void(chimney::TargetEvents&)>;

  [[nodiscard]] Couple* find(Id id) const;
  [[nodiscard]] static std::size_t side_of(const Couple& couple, Id id) noexcept {
    return couple.ends[0].flow == id ? 0 : 1;
  }
  void join(Couple& couple);
  void place(Couple& couple, std::size_t side, const chimney::LocalStream& out,
             const chimney::LocalStream& in);
  void take_apart(Couple& couple);
  void end(Couple& couple, std::size_t side);
  void trim(Couple& couple);
  void erase(Couple& couple);

  Pairs& pairs_;
  ipc::FlowRecord* const records_;
  std::map<Id, std::shared_ptr<Couple>> couples_;  // each under both ids
  std::vector<Answer> answers_;
  std::uint64_t& past_bytes_;
};

// The kernel's queue takes about half of what SO_RCVBUF says; the rest is its own overhead.
constexpr std::uint32_t receive_room(const HostSocketMemo& memo) noexcept {
  return memo.receive_buffer / 2;
}

// What the pair's memory says of a stream that is frozen, as far as it can be true.
struct FrozenPair {
  std::array<ipc::FrozenEnd, 2> ends;
  std::array<chimney::LocalStream, 2> streams;  // by the side that writes
};
// Freezes both ends. Nothing: their words are impossible. `places`: of both records, by side.
std::optional<FrozenPair> freeze_pair(ipc::PairConnection& connection,
                                      const std::array<ipc::PairPlace, 2>& places);

// What the application set since it was offloaded.
void follow_options(const ipc::Slot& slot, ConnectionState& state) noexcept;

// An end as the record and the frozen streams tell it, for refill(): nothing settled yet.
chimney::LocalEnd end_of(const ipc::FlowRecord& record, ipc::FlowId id,
                         const ipc::SharedMemory& memory);

}  // namespace snp::daemon
