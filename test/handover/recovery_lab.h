// One connection as a dead engine leaves it to the keeper: an arena with a slot and rings, a flow
// record, the socket, steering. Tests bring it into a state, let recover() do its work, and look
// whether both ends then finish as if nothing had happened.
#pragma once

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "snp/daemon/recovery.h"
#include "snp/daemon/slot_access.h"
#include "snp/host/network.h"

#include "test/handover/parking_lab.h"

namespace snp::test {

class RecoveryLab : public testing::Test {
 protected:
  static constexpr std::uint32_t kRing = 1 << 20;
  static constexpr ipc::SlotId kSlot = 3;
  static constexpr std::uint32_t kArena = 7;

  RecoveryLab();

  void connect(Family family);
  // The engine's way up to park().
  void close_gate_and_hold();
  // park() with the journal; what it says then stands in the record.
  Result<host::Parked> park_socket();
  // The rest of an offload: the gate opens towards the rings.
  void open_gate_to_rings();

  // Everything that the keeper has of it, as duplicates.
  daemon::Kept keep();
  // Fails the test when there is anything to complain about.
  daemon::RecoveryReport recover(daemon::Kept& kept, daemon::Aim aim);
  daemon::RecoveryReport recover(daemon::Aim aim);

  void wait_for_unread(std::size_t bytes);
  StreamRing rx() { return {arena_.data() + record_.rx_ring, kRing}; }
  StreamRing tx() { return {arena_.data() + record_.tx_ring, kRing}; }

  ParkingLab lab_;
  InNamespace inside_{lab_.net().left()};  // as snpd is
  Connection c_;
  ipc::SharedMemory arena_;
  ipc::SharedMemory records_;
  ipc::Slot& slot_;
  ipc::FlowRecord& record_;
  host::Path path_;
};

}  // namespace snp::test
