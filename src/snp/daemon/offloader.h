// Moves connections: the hand-over of design section 3, step by step, both ways, between the slots
// of programs, the kernel socket (host/), steering and the engine. Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "snp/chimney/lifecycle.h"
#include "snp/chimney/target.h"
#include "snp/commands/service.h"
#include "snp/daemon/accounts.h"
#include "snp/daemon/coexistence.h"
#include "snp/daemon/event_desk.h"
#include "snp/daemon/event_loop.h"
#include "snp/daemon/followers.h"
#include "snp/daemon/keeper_link.h"
#include "snp/daemon/learning.h"
#include "snp/daemon/life.h"
#include "snp/daemon/local_target.h"
#include "snp/daemon/pairs.h"
#include "snp/daemon/peer_index.h"
#include "snp/daemon/policy_book.h"
#include "snp/daemon/presence.h"
#include "snp/daemon/program.h"
#include "snp/daemon/receive_scaling.h"
#include "snp/engine/engine.h"
#include "snp/host/network.h"
#include "snp/host/parking.h"
#include "snp/settings/settings.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

struct Surroundings {
  EventLoop& loop;
  engine::Engine& engine;
  steer::Steering& steering;
  host::Network& network;
  KeeperLink& keeper;
  Presence& presence;
  ipc::FlowRecord* records;
  const settings::Settings& settings;
  const PolicyBook& policy;
  ReceiveScaling& scaling;
  Coexistence& coexistence;
  Learning& learning;
  EventDesk& events;
  Accounts& accounts;
  std::set<std::uint32_t> devices;  // ifindexes that are served
  std::uint32_t max_connections = 0;
  ipc::PairNumber first_pair = 1;  // above what the engines before this one have used
};

// A connection that the engine has, or is about to have.
struct Flow {
  ipc::FlowId id = ipc::kNoFlow;
  Program* program = nullptr;
  ipc::SlotId slot = ipc::kNoSlot;
  std::uint32_t in_use = 0;  // of the slot, when it was offloaded
  UniqueFd socket;
  std::uint64_t cookie = 0;
  FourTuple tuple;
  std::uint32_t bound_ifindex = 0;  // of the socket
  host::Path path;
  std::uint32_t shard = 0;
  bool is_bound = false;  // to its shard, whatever the hash of its packets says
  std::optional<steer::FlowSteering> steering;
  std::optional<std::uint32_t> moving_to;  // a shard
  bool has_left_shard = false;             // the old one was told to let go; the gate is closed
  chimney::Lifecycle lifecycle;
  Instant quiet_since;
  steer::AccountId account = steer::kNobodysAccount;
  std::uint64_t progress = 0;  // una_pos + rcv_pos when last looked at
  std::uint32_t cpu_us = 0;    // of this thread, for the offload
  Stay stay;                   // with the target
  bool is_staying = false;     // it has begun
  Instant active_at;           // it had carried something new when looked at then
  // A rule or an administrator wants it offloaded: it does not make room for others.
  bool is_kept = false;
  bool is_commanded = false;  // offloaded because an administrator said so
  chimney::Reason upload_reason = chimney::Reason::kOffloaded;
  std::string upload_detail;               // which table, rule or client
  bool is_upload_wanted = false;           // it waits in the queue, or is on its way
  std::optional<Instant> concerned_since;  // by the change of the host that sends it home
  chimney::Reason reason = chimney::Reason::kOffloaded;  // of what is being done now
  chimney::Treatment treatment;                          // what a rule says of it
  bool is_home = false;                                  // the host has it again
  // Of the local target: its other end is a flow, too.
  bool is_local = false;
  bool is_spoilt = false;    // the socket could not be emptied: home again at once
  host::Parked parked;       // while it is offloaded
  chimney::Handoff handoff;  // of the hand-over that is on
  std::vector<commands::Service::Done> waiting;
};

// A refusal as an error line.
Result<> reason_as_result(const FourTuple& flow, chimney::Reason reason);

class Offloader final : public chimney::TargetEvents {
 public:
  using Done = commands::Service::Done;
  explicit Offloader(Surroundings surroundings);

  // `done` may be empty. Both answer once, possibly before they return.
  void offload(Program& program, ipc::SlotId slot, Done done);
  void upload(Flow& flow, chimney::Reason reason, Done done, std::string detail = {});
  // Of a question to clients with a veto; and does its connection still exist?
  void on_settled(QuestionId id);
  bool is_live(const SlotUse& use);

  // Goes on with what the record says, and with the parked socket, for an engine that died. On
  // failure record and socket are as they were.
  Result<> resume(Program& program, ipc::FlowId id, UniqueFd socket, Instant quiet_since);
  // Both ends of a local connection, which has gone on meanwhile. `ids`: by side.
  Result<> resume_local(const std::array<Program*, 2>& programs,
                        const std::array<ipc::FlowId, 2>& ids, std::array<UniqueFd, 2> sockets);
  // After all resume(): numbers of the records in use are not given out again.
  void close_books();
  // Of a reason that an earlier engine left in a slot: it might be offloaded now.
  static bool may_try_again(chimney::Reason reason);

  // A program has attached.
  void add_program(Program& program);
  // The control doorbell of a slot that its program has closed.
  void app_closed(Program& program, ipc::SlotId slot);
  [[nodiscard]] Pairs& pairs() noexcept { return pairs_; }
  // Of a flow of the local target.
  struct LocalView {
    const Program* peer = nullptr;  // at the other end
    LocalTarget::Traffic traffic;
  };
  std::optional<LocalView> local_view(const Flow& flow);
  // Memory of local connections that stand still goes back. Asked for every few seconds.
  void trim() { local_.trim(); }

  // The process is dead, or (`is_dead` false) only its session is lost. The program is deleted,
  // and `gone` called, when the last connection is over.
  void end_program(Program& program, bool is_dead, std::function<void()> gone);

  // What policy says now: of a connection in the host (looks, changes nothing; `flow` learns of
  // it), of one that is offloaded, of one that need not exist.
  chimney::Verdict judge(Program& program, ipc::SlotId slot, Flow& flow, bool is_wanted);
  [[nodiscard]] chimney::Verdict judge(const Flow& flow) const;
  chimney::Verdict judge(const commands::PolicyQuestion& question);
  // The reason of a connection in the host, when nobody has asked since policy changed: of what
  // policy decides, what it says now; else what is recorded.
  struct Explanation {
    chimney::Reason reason;
    std::string detail;
  };
  Explanation reason_now(Program& program, ipc::SlotId slot, const FourTuple& tuple,
                         chimney::Reason recorded);
  // After a change of policy: who may not be offloaded any more goes home. `noticed`: it was a
  // change of the host, seen then; how long it takes is counted.
  void recheck_policy(std::optional<Instant> noticed = {});

  // After a change of what decides about shards: connections move to where it says now. On failure
  // everything stays.
  Result<> follow_scaling();
  // A round of the balancer; `is_dry`: only what it would do.
  rss::BalancerReport rebalance(bool is_dry);

  // There is something that a round might move.
  [[nodiscard]] bool wants_balance() const {
    return !is_stopping_ && !flows_.empty() && env_.scaling.is_balancing();
  }

  // Asked for every few seconds while connections are offloaded, and more often when some are new:
  // what they have carried, for what is learned and for who is idle.
  void look_at_stays();
  [[nodiscard]] bool has_new_stays() const { return is_new_until_ > looked_at_; }

  // After a change of routes, neighbours or devices.
  void recheck_paths();
  // Asked for every few seconds while connections are offloaded.
  void confirm_neighbours();

  // Hand-overs asked for, a bounded number. True: there are more.
  bool work();

  // Its program has closed it, or is gone: the engine finishes alone.
  [[nodiscard]] bool is_orphan(const Flow& flow) const { return slot_of(flow) == nullptr; }
  // Every connection that is left is over but for TIME_WAIT.
  [[nodiscard]] bool is_only_over() const;
  // Stop without a keeper: whatever could not be brought home is buried.
  void bury_rest();
  void set_stopping() noexcept {
    is_stopping_ = true;
    followers_.end();
  }

  [[nodiscard]] std::size_t flow_count() const noexcept { return flows_.size(); }
  [[nodiscard]] Flow* find(ipc::FlowId id);
  [[nodiscard]] const std::map<ipc::FlowId, std::unique_ptr<Flow>>& flows() const noexcept {
    return flows_;
  }
  void fill(commands::StatsReport& report) const;
  void fill(stats::LedgerSources& sources) const;
  void fill(std::vector<commands::DeviceLedger>& devices) const;  // of those that are served
  // Both parts of a connection's ledger; `mark`: of its socket, when the host has it.
  [[nodiscard]] AccountView ledger_of(const SlotUse& use,
                                      const std::optional<host::SocketMark>& mark) const;
  [[nodiscard]] AccountView ledger_of(const Flow& flow,
                                      const std::optional<host::SocketMark>& mark) const;
  void fill(commands::RssReport& report) const;
  void fill(std::vector<commands::DeviceRow>& devices) const;

  // chimney::TargetEvents
  void initiated(chimney::ConnectionId id) override;
  void terminated(chimney::ConnectionId id, const chimney::Handoff& handoff) override;
  void refused(chimney::ConnectionId id, TcpState state) override;
  void upload_requested(chimney::ConnectionId id, chimney::Reason reason) override;
  void finished(chimney::ConnectionId id) override;
  void expected(chimney::ConnectionId id) override;
  void moved_out(chimney::ConnectionId id) override;

 private:
  struct OffloadJob {
    std::uint32_t program;
    ipc::SlotId slot;
    std::uint32_t in_use;
    Done done;
  };
  void run_offload(OffloadJob job);
  void decline(const OffloadJob& job, const FourTuple& tuple, chimney::Reason reason);
  void tell_listeners(std::string_view kind, const Flow& flow);
  void run_upload(Flow& flow);
  void retry_later(OffloadJob job, Duration wait);
  // Segments wait out of order: is it worth waiting (longer) until they do not?
  static bool waits_for_gap(SlotNote& note);
  void take_waiting_jobs();

  // What mode automatic learns, and who makes room (offload_worth.cpp).
  void prepare_stay(Flow& flow, const chimney::Verdict& verdict, bool is_wanted);
  void begin_stay(Flow& flow);
  void look_at_stay(Flow& flow);
  void end_stay(Flow& flow);
  [[nodiscard]] std::uint64_t carried_bytes(const Flow& flow) const;
  bool may_make_room(const Flow& flow, Instant latest);
  bool make_room(const Program& program, chimney::Reason reason);

  // Tells the lifecycle what happened, does what it says, tells it what came of that, and so on.
  // The flow may be gone afterwards.
  void drive(Flow& flow, chimney::Input input);
  std::optional<chimney::Input> carry_out(Flow& flow, chimney::Action action);
  void notice_close(Flow& flow);

  // The steps of an offload.
  // Nothing: what steering needs is coming to the devices; try again then.
  std::optional<chimney::Reason> start_offload(Program& program, ipc::SlotId slot,
                                               const Done& done);
  EventDesk::Permission ask_clients(const Flow& flow);
  chimney::Reason examine(Program& program, ipc::SlotId slot, Flow& flow,
                          host::SocketSurvey& survey);
  chimney::Reason find_way(Flow& flow);
  std::optional<chimney::Reason> obstacle_of_peer(const FourTuple& tuple);
  struct Foreseen {
    chimney::Reason reason;
    std::string detail;
  };
  // Of a connection that does not exist: what would keep it from moving.
  Foreseen foresee(Flow& flow);
  [[nodiscard]] bool has_room() const;
  chimney::Facts facts_of(Program& program, const FourTuple& flow) const;
  void add_interface(chimney::Facts& facts, const Flow& flow) const;
  void add_feature(chimney::Facts& facts, const Flow& flow) const;
  // Local connections (local_offload.cpp).
  chimney::Reason find_peer(const FourTuple& tuple);
  chimney::Reason find_second(const Flow& first, Flow& second);
  chimney::Reason start_local(std::unique_ptr<Flow> first, const Done& done);
  chimney::Reason move_both(Pair& pair, const std::array<ipc::FlowId, 2>& ids, const Done& done);
  chimney::Reason take_both(Pair& pair, Flow& first, Flow& second);
  chimney::Reason silence_end(Flow& flow);
  chimney::Reason dump_end(Flow& flow);
  chimney::Reason settle_both(Pair& pair, Flow& first, Flow& second);
  chimney::Input empty_end(Flow& flow);
  std::optional<chimney::Input> carry_out_local(Flow& flow, chimney::Action action);
  void run_local_upload(Flow& flow);
  void refuse_local_upload(const std::array<ipc::FlowId, 2>& ids);
  void refill_both(const std::array<ipc::FlowId, 2>& ids);
  void end_local_upload(Flow& flow, const LocalTarget::LastWords& words, const LifePositions& told,
                        const Result<host::Refilled>& refilled);
  void leave_to_us(Flow& flow);
  void notice_local_close(Flow& flow);

  static chimney::Reason look_again(const ipc::Slot& slot, const Flow& flow);
  Flow& enrol(std::unique_ptr<Flow> owned);
  Flow& enter(std::unique_ptr<Flow> owned);
  chimney::Reason take_rings(Flow& flow);
  std::optional<chimney::Input> hold(Flow& flow);
  bool take_frames(Flow& flow);
  chimney::Reason park(Flow& flow);
  chimney::Reason explain_park(const Flow& flow, const Error& error);
  void publish(const Flow& flow);

  chimney::Input shut_gate(Flow& flow);
  void open_gate_to_host(const Flow& flow);
  chimney::Input unpark(Flow& flow);
  void forgive_gaps(const Flow& flow);
  void let_follow(Flow& flow);
  void give_frames(const Flow& flow);
  void report_stuck(Flow& flow);
  void free_flow(Flow& flow);
  void drop_flow(Flow& flow);  // socket, rings, record, steering: gone
  bool tell(const Program& program, std::span<const std::byte> message, std::span<const int> fds);
  void free_rings(const Flow& flow);
  void free_ring(Program& program, std::uint64_t offset, std::uint32_t size);
  void set_slot_mode(const Flow& flow, ipc::SlotMode mode, chimney::Reason reason);
  [[nodiscard]] ipc::Slot* slot_of(const Flow& flow) const;
  void answer(Flow& flow, const Result<>& result);
  void hand_over_ended(Program& program);
  void detach_if_due(Program& program);
  void account(HandOverTotals& direction, Flow& flow, std::uint64_t queued_bytes);
  void note_way_home(const Flow& flow);
  // accounting.cpp
  void open_account(Flow& flow);
  [[nodiscard]] ConnectionAccount* account_of(const Flow& flow) const;
  void note_return(const Flow& flow, const chimney::Handoff& handoff, const LifePositions& told,
                   const host::SocketMark& mark, std::uint32_t filtered);
  void note_failed_park(const Flow& flow);
  void note_local_start(const Flow& flow, const Flow& peer);

  // shard_moves.cpp
  Result<> steer(Flow& flow, steer::FlowSteering state);
  void bind(Flow& flow);
  void settle_shard(Flow& flow);
  void settle_shards();
  void arrived(Flow& flow);
  void cannot_move(Flow& flow);
  void end_move(Flow& flow);
  void open_gate_to_shard(const Flow& flow);
  void note_elephants(const rss::BalancerReport& report);

  Surroundings env_;
  Followers followers_{env_.loop, env_.steering, env_.presence};
  std::map<ipc::FlowId, std::unique_ptr<Flow>> flows_;
  std::vector<ipc::FlowId> free_ids_;
  std::unordered_set<std::uint64_t> cookies_;
  std::unordered_map<std::uint32_t, Program*> programs_;  // by number; until the last flow is over
  PeerIndex peers_{programs_};
  Pairs pairs_;
  LocalTarget local_;
  std::unordered_map<std::uint32_t, std::function<void()>> gone_;
  std::deque<OffloadJob> offload_queue_;
  std::vector<OffloadJob> waiting_jobs_;  // for the presence
  std::unordered_map<QuestionId, std::vector<OffloadJob>> asked_jobs_;
  QuestionId asked_ = 0;        // start_offload() has asked this
  std::string decline_detail_;  // of the last start_offload()
  std::deque<ipc::FlowId> upload_queue_;
  std::uint32_t initiating_ = 0;  // the shard has not answered yet
  std::uint32_t uploads_running_ = 0;
  // Of the hand-over that is being driven: from park to initiate, from terminated to the frames.
  chimney::Handoff handoff_;
  bool needs_forged_segment_ = false;
  chimney::Reason freed_for_ = chimney::Reason::kOffloaded;  // why the last flow was freed
  HandOverTotals &offloads_, &uploads_, &shard_moves_;
  std::vector<std::string> elephants_;    // of the balancer's last round
  Instant looked_at_{}, is_new_until_{};  // at stays
  bool is_stopping_ = false;
};

}  // namespace snp::daemon
