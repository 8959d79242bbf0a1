// Writes into the flow record what a park() is about to take from the socket.
#pragma once

#include "snp/daemon/accounts.h"
#include "snp/host/network.h"
#include "snp/host/parking.h"
#include "snp/ipc/flow_record.h"

namespace snp::daemon {

// Fills in what only the path to the peer tells.
void complete(ConnectionState& state, const host::Path& path) noexcept;

class RecordJournal final : public host::ParkJournal {
 public:
  // `accounts`: where the connection, under the record's account, leaves the host; null: that is
  // written elsewhere.
  RecordJournal(ipc::FlowRecord& record, const host::Path& path, ipc::FlowId flow = ipc::kNoFlow,
                Accounts* accounts = nullptr) noexcept
      : record_(record), path_(path), flow_(flow), accounts_(accounts) {}
  void before_silencing(const HostSocketMemo& memo) override;
  void before_emptying(const host::Parked& parked) override;

 private:
  ipc::FlowRecord& record_;
  const host::Path& path_;
  const ipc::FlowId flow_;
  Accounts* const accounts_;
};

}  // namespace snp::daemon
