// What mode automatic learns (chimney/worth.h, chimney/history.h), fed from what happens here: the
// hand-overs that are done, the connections that end or have carried enough, and the tallies in
// which switches keep what never asked. What is learned stands in memory of the keeper's: the next
// engine goes on with it. Control thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "snp/chimney/history.h"
#include "snp/chimney/policy.h"
#include "snp/chimney/worth.h"
#include "snp/commands/service.h"
#include "snp/daemon/program.h"
#include "snp/ipc/arena.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

// In memory that outlives engines; zero-initialised memory will not do.
struct LearnedMemory {
  chimney::Economics economics;
  chimney::History history;
};

// What is known of one stay with a target, to be judged when it has carried enough or is over.
struct Stay {
  chimney::TargetKind kind = chimney::TargetKind::kEngine;
  ipc::OriginId origin_id = 0;
  std::optional<chimney::Origin> origin;  // nothing: not known
  chimney::Carried before;                // by the host
  std::uint64_t bytes = 0;                // carried since
  std::uint32_t host_rtt_us = 0;          // 0: not known
  bool is_judged = false;                 // its outcome is in the history
  bool is_compared = false;               // its round trips are in the figures
  std::string history;                    // what policy said of it; for people
};

class Learning {
 public:
  Learning(LearnedMemory& memory, const settings::Settings& settings);

  // The origin of a connection, after taking the tallies of its row; nothing when it has none.
  std::optional<chimney::Origin> origin_of(Program& program, ipc::SlotId slot);
  // What mode automatic asks: prediction, gain and cost. `facts` has its bytes and calls. `rtt_us`:
  // 0 when not known.
  void add_worth(chimney::Facts& facts, const std::optional<chimney::Origin>& origin,
                 chimney::TargetKind kind, std::uint32_t rtt_us) const;
  // The same for a connection that does not exist: an origin that would be its own, if any is
  // known.
  [[nodiscard]] std::optional<chimney::Origin> guess_origin(const FourTuple& flow,
                                                            const std::string& program) const;
  // What the switch is to do with the next connection of this row.
  void advise(const Program& program, ipc::OriginId id) const;

  void paid(chimney::TargetKind kind, std::uint32_t quiet_us, std::uint32_t cpu_us) noexcept {
    memory_.economics.paid(kind, quiet_us, cpu_us);
  }
  // `bytes` in total so far; `target_rtt_us` 0: not known. True: its outcome is known now.
  bool look(Stay& stay, std::uint64_t bytes, std::uint32_t target_rtt_us, const Program& program);
  // It is over, with what was seen last.
  void end(Stay& stay, const Program& program);

  // Every program's tallies are taken, advice follows what is known (and set) now.
  void refresh(Program& program);
  [[nodiscard]] commands::LearnedReport report() const;

 private:
  // Row numbers above the table come from hostile words.
  void take_tally(Program& program, ipc::OriginId id);
  [[nodiscard]] std::uint32_t eager_percent() const;
  [[nodiscard]] chimney::Prediction predict(const chimney::Origin& origin) const;
  [[nodiscard]] chimney::Carried carried(const Stay& stay) const;
  void judge(Stay& stay, bool has_earned, const Program& program);

  LearnedMemory& memory_;
  const settings::Settings& settings_;
};

}  // namespace snp::daemon
