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
  // What the connection leaves the host with is written elsewhere.
  RecordJournal(ipc::FlowRecord& record, const host::Path& path) noexcept
      : record_(record), path_(path) {}
  // It leaves under the record's account; `slot`: its, in the use `in_use`.
  RecordJournal(ipc::FlowRecord& record, const host::Path& path, ipc::FlowId flow,
                Accounts& accounts, ipc::Slot& slot, std::uint32_t in_use) noexcept
      : record_(record),
        path_(path),
        flow_(flow),
        accounts_(&accounts),
        life_(&slot.life),
        in_use_(in_use) {}
  void before_silencing(const HostSocketMemo& memo) override;
  void before_emptying(const host::Parked& parked) override;

 private:
  void note_leaving(const host::Parked& parked) const;

  ipc::FlowRecord& record_;
  const host::Path& path_;
  const ipc::FlowId flow_ = ipc::kNoFlow;
  Accounts* const accounts_ = nullptr;
  ipc::SlotLife* const life_ = nullptr;
  const std::uint32_t in_use_ = 0;
};

}  // namespace snp::daemon
