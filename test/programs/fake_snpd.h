// A stand-in for snpd and its shards, to test the switch alone and without privileges: it serves
// the control socket, and "offloads" a connection by carrying bytes between its rings and a
// duplicate of the real socket. It reads the socket with MSG_PEEK and takes bytes out only when the
// application has read them from the ring, so that an upload leaves every unread byte in the
// kernel.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "snp/base/unique_fd.h"
#include "snp/ipc/pair.h"
#include "snp/ipc/shared_memory.h"

namespace snp::test {

struct FakeSnpdConfig {
  std::string control_name;      // abstract
  bool is_local = false;         // only the local target: both ends are programs of ours
  bool moves_at_random = false;  // offloads and uploads every connection again and again
  std::uint64_t seed = 1;
  std::uint32_t ring_bytes = 64 * 1024;
  std::uint32_t spin_us = 20;  // also for local connections
};

class FakeSnpd {
 public:
  explicit FakeSnpd(FakeSnpdConfig config);
  ~FakeSnpd();
  FakeSnpd(const FakeSnpd&) = delete;
  FakeSnpd& operator=(const FakeSnpd&) = delete;

  // Ends between two turns, as after a kill of snpd and its keeper: nothing comes home.
  void vanish();

  [[nodiscard]] std::uint64_t offloads() const noexcept { return offloads_.load(); }
  [[nodiscard]] std::uint64_t uploads() const noexcept { return uploads_.load(); }

 private:
  struct Flow;
  struct Session;
  struct LocalPair;
  struct LocalFlow;

  void run();
  void turn();
  void accept_session();
  bool serve_control(Session& session);
  void attach(Session& session);
  void look_at_requests(Session& session);
  void look_at_slot(Session& session, ipc::SlotId id);
  void move_at_random(Session& session);
  bool offload(Session& session, ipc::SlotId id);
  void begin_upload(Flow& flow);
  void finish_upload(Session& session, Flow& flow);
  bool go_home(Session& session, Flow& flow);  // false: it is there
  bool pump(Session& session, Flow& flow);     // false: the flow is done
  static void take_out(Flow& flow);
  void pump_in(Session& session, Flow& flow);
  void pump_out(Session& session, Flow& flow);
  void fail(Session& session, Flow& flow, int error);
  void tell(Session& session, ipc::SlotId id);
  void wake(Session& session);

  // The local target (fake_local.cpp).
  void note_names(Session& session, ipc::SlotId id);
  void offload_locally(Session& session, ipc::SlotId id);
  void join(Session& a, ipc::SlotId id_a, Session& b, ipc::SlotId id_b);
  static bool close_gate(Session& session, ipc::SlotId id, std::uint32_t in_use);
  bool fill_pair(LocalFlow& flow);
  void upload_local(LocalFlow& flow);
  static void bury(LocalFlow& flow, std::size_t side);
  static void tell_lanes(LocalFlow& flow, std::size_t side);
  bool serve_local(LocalFlow& flow);
  void serve_all_local();
  void pass_lane_on(Session& session, const void* message, int fd);
  static bool send_later(Session& session, std::string bytes, std::vector<int> fds, int ring_after);
  static bool flush(Session& session);
  LocalPair* pair_of(Session& a, Session& b);
  static UniqueFd socket_of(const Session& session, ipc::SlotId id, std::uint32_t in_use);
  LocalFlow* local_flow_of(const Session& session, ipc::SlotId id);
  [[nodiscard]] bool is_in_pair(const Session& session) const;

  FakeSnpdConfig config_;
  std::mt19937_64 random_;
  UniqueFd listener_;
  ipc::SharedMemory bulletin_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::unique_ptr<LocalPair>> local_pairs_;
  std::vector<std::unique_ptr<LocalFlow>> local_flows_;
  ipc::PairNumber last_pair_ = 0;
  std::vector<std::byte> scratch_;
  std::uint32_t sleeps_ = 0;
  std::atomic<std::uint64_t> offloads_{0}, uploads_{0};
  std::atomic<bool> stop_{false}, leaves_connections_{false};
  std::thread thread_;
};

}  // namespace snp::test
