#include "snp/daemon/record_journal.h"

#include "snp/daemon/life.h"
#include "snp/engine/clock.h"

namespace snp::daemon {

void complete(ConnectionState& state, const host::Path& path) noexcept {
  state.constant.ifindex = path.ifindex;
  state.cached.local_mac = path.local_mac;
  state.cached.next_hop_mac = path.next_hop_mac;
  state.cached.path_mtu = path.mtu;
}

void RecordJournal::before_silencing(const HostSocketMemo& memo) {
  record_.memo = memo;
  record_.status.store(ipc::FlowStatus::kSilenced);
}

void RecordJournal::before_emptying(const host::Parked& parked) {
  ConnectionState state = parked.state;
  complete(state, path_);
  record_.memo = parked.memo;
  ipc::store_state(record_, state, parked.rx_range, parked.tx_range,
                   to_ms_ticks(engine::monotonic_now()));
  if (accounts_ != nullptr) note_leaving(parked);
  record_.status.store(ipc::FlowStatus::kOffloaded);
}

void RecordJournal::note_leaving(const host::Parked& parked) const {
  const steer::AccountId id = record_.account;
  std::uint64_t fenced = 0;
  if (id != steer::kNobodysAccount) {
    fenced = host::fenced_bytes((*accounts_)[id].mark, parked.mark);
    leave_host((*accounts_)[id], parked.mark, accounts_->fenced(id), positions_of(record_), flow_,
               false);
  }
  leave_host(*life_, in_use_, parked.mark, fenced, life_positions(handoff_of(parked)));
}

}  // namespace snp::daemon
