#include "test/handover/recovery_lab.h"

#include <chrono>
#include <thread>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snp/daemon/record_journal.h"
#include "snp/host/socket_calls.h"
#include "snp/ipc/slot_gate.h"

namespace snp::test {

RecoveryLab::RecoveryLab()
    : arena_(*ipc::SharedMemory::create("test.arena", ipc::kRingsOffset + 2 * std::size_t{kRing})),
      records_(*ipc::SharedMemory::create("test.flows", sizeof(ipc::FlowRecord))),
      slot_(daemon::slot_at(arena_, kSlot)),
      record_(records_.at<ipc::FlowRecord>(0)) {}

void RecoveryLab::connect(Family family) {
  c_ = lab_.connect_pair(family);
  const NetnsLab::Side& left = lab_.net().left();
  path_ = {.ifindex = left.ifindex,
           .local_mac = left.mac,
           .next_hop_mac = lab_.net().right().mac,
           .next_hop = lab_.net().right().v4};
  for (const int option : {SO_KEEPALIVE, SO_REUSEADDR})
    host::set_option(c_.host.get(), SOL_SOCKET, option, 1);
  slot_.app.in_use = 1;
  slot_.app.tx_head = slot_.app.rx_tail = ipc::kFirstPosition;
}

void RecoveryLab::close_gate_and_hold() {
  ipc::set_mode(slot_, ipc::SlotMode::kOffloading);
  for (const auto state : {steer::FlowSteering::kShadow, steer::FlowSteering::kHold})
    ASSERT_TRUE(lab_.steering().set(c_.tuple, state, 0));
  record_.arena = kArena;
  record_.slot = kSlot;
  record_.rx_ring = ipc::kRingsOffset;
  record_.tx_ring = ipc::kRingsOffset + kRing;
  record_.rx_size = record_.tx_size = kRing;
  record_.constant.tuple = c_.tuple;
  record_.status = ipc::FlowStatus::kParking;
}

Result<host::Parked> RecoveryLab::park_socket() {
  daemon::RecordJournal journal(record_, path_);
  return host::park(c_.host.get(), rx(), slot_.app.rx_tail, tx(), slot_.app.tx_head, &journal);
}

void RecoveryLab::open_gate_to_rings() {
  ASSERT_TRUE(lab_.steering().set(c_.tuple, steer::FlowSteering::kActive, 0));
  ipc::set_mode(slot_, ipc::SlotMode::kOffloaded);
}

daemon::Kept RecoveryLab::keep() {
  daemon::Kept kept;
  kept.programs[kArena] = std::make_unique<daemon::KeptProgram>(
      kArena, *ipc::SharedMemory::map(UniqueFd(::dup(arena_.fd())), arena_.size(), true));
  kept.sockets[0].reset(::dup(c_.host.get()));
  return kept;
}

daemon::RecoveryReport RecoveryLab::recover(daemon::Kept& kept, daemon::Aim aim) {
  return daemon::recover(kept, &record_, lab_.steering(), aim,
                         [](const std::string& line) { ADD_FAILURE() << line; });
}

daemon::RecoveryReport RecoveryLab::recover(daemon::Aim aim) {
  daemon::Kept kept = keep();
  return recover(kept, aim);
}

void RecoveryLab::wait_for_unread(std::size_t bytes) {
  for (int i = 0; i < 4000 && host::ioctl_count(c_.host.get(), SIOCINQ) != bytes; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(host::ioctl_count(c_.host.get(), SIOCINQ), bytes);
}

}  // namespace snp::test
