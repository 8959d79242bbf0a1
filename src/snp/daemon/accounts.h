// The accounts of connections: who has carried what of each, across its hand-overs and across
// engines. A connection has one from its first hand-over until its slot is used anew. Control
// thread; the free functions also the keeper, while there is no engine.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "snp/chimney/target.h"
#include "snp/daemon/ledger_memory.h"
#include "snp/daemon/pairs.h"
#include "snp/ipc/flow_record.h"

namespace snp::daemon {

// Where the two streams stand, in positions of a ring or a pair: after the last byte that has
// arrived in order, and after the last one that was ever sent.
struct Positions {
  std::uint64_t in = 0, out = 0;
};
Positions positions_of(const chimney::Handoff& handoff) noexcept;
Positions positions_of(const ipc::FlowRecord& record) noexcept;

// The host gives it away: what its socket had carried is added up. `fenced`: segments, so far, of
// the account.
void leave_host(ConnectionAccount& account, const host::SocketMark& mark, std::uint64_t fenced,
                const Positions& at, ipc::FlowId flow, bool is_local) noexcept;
// The target's stay is over, wherever the connection goes. A second time it does nothing.
void end_stay(const LedgerMemory& ledger, ConnectionAccount& account, const Positions& at) noexcept;
// The host has it again. `filtered`: segments that the host counted and its parked socket refused.
void come_home(ConnectionAccount& account, const host::SocketMark& mark, std::uint64_t fenced,
               std::uint32_t filtered) noexcept;
// What steering has counted since the last call goes to the path.
void fold(const LedgerMemory& ledger, const steer::Steering& steering,
          steer::AccountId id) noexcept;

// Both parts of a connection's ledger.
struct AccountView {
  host::Carried host, target;
};

class Accounts {
 public:
  // `accounts`: how many there may be; number 0 is nobody's.
  Accounts(const LedgerMemory& ledger, const steer::Steering& steering, std::uint32_t accounts);

  // The account of this use of a slot; opens one when there is none. 0: all are in use. `is_used`
  // says of an old one whether its connection is still there.
  steer::AccountId open(const SlotUse& use, std::uint32_t path,
                        const std::function<bool(const ConnectionAccount&)>& is_used);
  [[nodiscard]] steer::AccountId find(const SlotUse& use) const;

  // Accounts of connections that the keeper, or nobody, has finished since: their stays end where
  // the records say. `is_away`: whether a flow still is.
  void settle(const ipc::FlowRecord* records, const std::function<bool(ipc::FlowId)>& is_away);

  // `now`: of the socket, when the host has it; `at`: of the target, when that has it.
  [[nodiscard]] AccountView view(steer::AccountId id, const std::optional<host::SocketMark>& now,
                                 const std::optional<Positions>& at) const;
  // What is in no path's counters yet, of all that are away: fn(path, metric, value).
  void for_each_open(
      const std::function<void(std::uint32_t, stats::PathMetric, std::uint64_t)>& fn) const;

  [[nodiscard]] const LedgerMemory& ledger() const noexcept { return ledger_; }
  [[nodiscard]] ConnectionAccount& operator[](steer::AccountId id) const noexcept {
    return ledger_.account(id);
  }
  void fold(steer::AccountId id) const noexcept { daemon::fold(ledger_, steering_, id); }
  [[nodiscard]] std::uint64_t fenced(steer::AccountId id) const {
    return steering_.counters(id).fenced_segments;
  }

 private:
  using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
  void begin(steer::AccountId id, const SlotUse& use, std::uint32_t path) const noexcept;

  const LedgerMemory& ledger_;
  const steer::Steering& steering_;
  const std::uint32_t count_;
  std::map<Key, steer::AccountId> by_use_;
  std::vector<steer::AccountId> free_;
};

}  // namespace snp::daemon
