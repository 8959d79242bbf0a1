#include "snp/daemon/accounts.h"

#include <algorithm>
#include <utility>

namespace snp::daemon {
namespace {

using stats::PathMetric;
using steer::AccountCounters;

std::uint64_t past(std::uint64_t value, std::uint64_t base) noexcept {
  return value > base ? value - base : 0;
}

struct PathPart {
  PathMetric metric;
  std::uint64_t AccountCounters::*value;
};
constexpr PathPart kPathParts[] = {
    {PathMetric::kTakenFrames, &AccountCounters::taken_frames},
    {PathMetric::kTakenOctets, &AccountCounters::taken_octets},
    {PathMetric::kFencedFrames, &AccountCounters::fenced_frames},
    {PathMetric::kFencedOctets, &AccountCounters::fenced_octets},
    {PathMetric::kFencedSegments, &AccountCounters::fenced_segments},
    {PathMetric::kFencedResets, &AccountCounters::fenced_resets},
};

Positions positions_of(const DelegatedState& state, std::uint64_t rcv, std::uint64_t una,
                       std::uint64_t written) noexcept {
  // A FIN that is in flight is no byte: nothing is sent beyond what was written.
  const std::uint64_t sent = una + (state.snd_max - state.snd_una);
  return {rcv, std::min(sent, std::max(written, una))};
}

host::Carried stay_in_host(const ConnectionAccount& account, const host::SocketMark& now,
                           std::uint64_t fenced) noexcept {
  host::Carried stay = host::between(account.mark, now);
  stay.segments_out = past(stay.segments_out, fenced - account.fenced);
  return stay;
}

}  // namespace

Positions positions_of(const chimney::Handoff& handoff) noexcept {
  return positions_of(handoff.state.delegated, handoff.rx_range.end, handoff.tx_range.begin,
                      handoff.tx_range.end);
}

Positions positions_of(const ipc::FlowRecord& record) noexcept {
  const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(record);
  DelegatedState state = snapshot.delegated;
  state.snd_max = seq_max(state.snd_max, SeqNum(record.snd_max.load(std::memory_order_relaxed)));
  return positions_of(state, snapshot.rcv_pos, snapshot.una_pos, record.tx_end.load());
}

void leave_host(ConnectionAccount& account, const host::SocketMark& mark, std::uint64_t fenced,
                const Positions& at, ipc::FlowId flow, bool is_local) noexcept {
  if (account.is_away) return;
  account.host += stay_in_host(account, mark, fenced);
  account.mark = mark;
  account.first_in = at.in;
  account.first_out = at.out;
  account.flow = flow;
  account.is_local = is_local;
  account.is_away = true;
}

void end_stay(const LedgerMemory& ledger, ConnectionAccount& account,
              const Positions& at) noexcept {
  if (!account.is_away) return;
  account.is_away = false;
  const std::uint64_t in = past(at.in, account.first_in);
  const std::uint64_t out = past(at.out, account.first_out);
  account.target.bytes_in += in;
  account.target.bytes_out += out;
  if (account.is_local) return;  // LedgerTotals::local_bytes has them
  ledger.own_path(account.path).add(PathMetric::kStreamIn, in);
  ledger.own_path(account.path).add(PathMetric::kStreamOut, out);
}

void come_home(ConnectionAccount& account, const host::SocketMark& mark, std::uint64_t fenced,
               std::uint32_t filtered) noexcept {
  account.mark = mark;
  account.fenced = fenced;
  account.host.segments_in += filtered;
}

void fold(const LedgerMemory& ledger, const steer::Steering& steering,
          steer::AccountId id) noexcept {
  const AccountCounters now = steering.counters(id);
  ConnectionAccount& account = ledger.account(id);
  const AccountCounters before = std::exchange(account.folded, now);
  for (const PathPart& part : kPathParts)
    ledger.own_path(account.path).add(part.metric, now.*part.value - before.*part.value);
}

Accounts::Accounts(const LedgerMemory& ledger, const steer::Steering& steering,
                   std::uint32_t accounts)
    : ledger_(ledger), steering_(steering), count_(accounts) {
  // The pages of those that nobody has ever used are not there.
  for (steer::AccountId id = ledger_.totals().accounts - 1; id > steer::kNobodysAccount; --id) {
    const ConnectionAccount& account = ledger_.account(id);
    if (account.in_use == 0)
      free_.push_back(id);
    else
      by_use_[{account.program, account.slot, account.in_use}] = id;
  }
}

steer::AccountId Accounts::find(const SlotUse& use) const {
  const auto found = by_use_.find({use.program, use.slot, use.in_use});
  return found == by_use_.end() ? steer::kNobodysAccount : found->second;
}

steer::AccountId Accounts::open(const SlotUse& use, std::uint32_t path,
                                const std::function<bool(const ConnectionAccount&)>& is_used) {
  if (const steer::AccountId id = find(use); id != steer::kNobodysAccount) return id;
  if (free_.empty() && ledger_.totals().accounts < count_)
    free_.push_back(ledger_.totals().accounts++);
  if (free_.empty()) {
    for (auto entry = by_use_.begin(); entry != by_use_.end();) {
      const steer::AccountId id = entry->second;
      if (ledger_.account(id).is_away || is_used(ledger_.account(id))) {
        ++entry;
        continue;
      }
      ledger_.account(id).in_use = 0;
      free_.push_back(id);
      entry = by_use_.erase(entry);
    }
  }
  if (free_.empty()) return steer::kNobodysAccount;
  const steer::AccountId id = free_.back();
  free_.pop_back();
  begin(id, use, path);
  by_use_[{use.program, use.slot, use.in_use}] = id;
  return id;
}

void Accounts::begin(steer::AccountId id, const SlotUse& use, std::uint32_t path) const noexcept {
  ConnectionAccount& account = ledger_.account(id);
  if (account.path < ledger_.paths()) fold(id);  // who counted late for the one before
  account = {};
  account.opened = account.folded = steering_.counters(id);
  account.fenced = account.opened.fenced_segments;
  const stats::TargetAccount& target = ledger_.target_accounts()[id];
  account.opened_segments_out = target.segments_out.load();
  account.opened_retransmits = target.retransmits.load();
  account.opened_reinjected_frames = target.reinjected_frames.load();
  account.opened_reinjected_segments = target.reinjected_segments.load();
  account.opened_forged = target.forged_frames.load();
  account.program = use.program;
  account.slot = use.slot;
  account.path = path;
  account.in_use = use.in_use;
}

void Accounts::settle(const ipc::FlowRecord* records,
                      const std::function<bool(ipc::FlowId)>& is_away) {
  for (const auto& [use, id] : by_use_) {
    ConnectionAccount& account = ledger_.account(id);
    fold(id);
    if (!account.is_away || is_away(account.flow)) continue;
    // Of a local connection nobody knows how far it came.
    const Positions at = account.is_local || account.flow >= ipc::kFlowRecords
                             ? Positions{}
                             : positions_of(records[account.flow]);
    end_stay(ledger_, account, at);
  }
}

AccountView Accounts::view(steer::AccountId id, const std::optional<host::SocketMark>& now,
                           const std::optional<Positions>& at) const {
  AccountView view;
  if (id == steer::kNobodysAccount) {
    if (now) view.host = host::between({}, *now);
    return view;
  }
  const ConnectionAccount& account = ledger_.account(id);
  const stats::TargetAccount& counted = ledger_.target_accounts()[id];
  const AccountCounters steered = steering_.counters(id);
  view.host = account.host;
  view.target = account.target;
  if (!account.is_away && now) view.host += stay_in_host(account, *now, steered.fenced_segments);
  if (account.is_away && at) {
    view.target.bytes_in += past(at->in, account.first_in);
    view.target.bytes_out += past(at->out, account.first_out);
  }
  // Frames that were given back count in the host's socket, a merged one once; forged ones, too.
  const std::uint64_t frames = counted.reinjected_frames.load() - account.opened_reinjected_frames;
  const std::uint64_t segments =
      counted.reinjected_segments.load() - account.opened_reinjected_segments;
  const std::uint64_t forged = counted.forged_frames.load() - account.opened_forged;
  view.host.segments_in = past(view.host.segments_in + segments - frames, forged);
  view.target.segments_in = past(steered.taken_segments - account.opened.taken_segments, segments);
  view.target.segments_out = counted.segments_out.load() - account.opened_segments_out;
  view.target.retransmits = counted.retransmits.load() - account.opened_retransmits;
  return view;
}

void Accounts::for_each_open(
    const std::function<void(std::uint32_t, PathMetric, std::uint64_t)>& fn) const {
  for (const auto& [use, id] : by_use_) {
    const ConnectionAccount& account = ledger_.account(id);
    if (account.is_local) continue;
    const AccountCounters now = steering_.counters(id);
    for (const PathPart& part : kPathParts)
      if (const std::uint64_t value = now.*part.value - account.folded.*part.value; value != 0)
        fn(account.path, part.metric, value);
  }
}

}  // namespace snp::daemon
