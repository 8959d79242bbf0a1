// The control thread of the engine process: sessions of programs and command lines, requests from
// arenas, signals, the host's changes; everything else is the offloader's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snp/commands/command.h"
#include "snp/daemon/copy_engines.h"
#include "snp/daemon/engine_process.h"
#include "snp/daemon/event_loop.h"
#include "snp/daemon/host_scaling.h"
#include "snp/daemon/kept.h"
#include "snp/daemon/messages.h"
#include "snp/daemon/offloader.h"
#include "snp/daemon/program.h"
#include "snp/daemon/session.h"
#include "snp/ipc/message_socket.h"

namespace snp::daemon {

class Control final : public commands::Service {
 public:
  struct Parts {
    const Inheritance& inheritance;
    EventLoop& loop;
    engine::Engine& engine;
    host::Network& network;
    KeeperLink& keeper;
    Offloader& offloader;
    settings::Settings& settings;
    PolicyBook& policy;
    Learning& learning;
    Coexistence& coexistence;
    HostScaling& host_scaling;
    CopyEngines& copy_engines;
    EventDesk& events;
  };
  explicit Control(Parts parts);

  // Watches everything; programs may attach from here on.
  Result<> start();
  // Goes on with the programs and connections of an engine that died. Takes the descriptors out of
  // `kept`. On failure this process must end: the keeper brings home what there is.
  Result<> adopt(Kept& kept);
  void begin_stop();

  // commands::Service
  std::vector<commands::ConnectionRow> connections() override;
  void offload(const FourTuple& flow, Done done) override;
  void upload(const FourTuple& flow, Done done) override;
  void upload_all(std::function<void(Result<std::uint32_t>)> done) override;
  commands::PolicyAnswer judge(const commands::PolicyQuestion& question) override;
  [[nodiscard]] const chimney::Rules& rules() const override {
    return parts_.policy.policy().rules;
  }
  commands::LearnedReport learned() override;
  [[nodiscard]] std::string rules_path() const override;
  Result<> load_rules(const std::string& text, const std::string& name) override;
  Result<std::vector<commands::TcpSocket>> tcp_sockets() override;
  commands::HostTcp host_tcp() override;
  std::vector<commands::DeviceRow> devices() override;
  std::vector<commands::FeatureState> features() override;
  commands::StatsReport stats() override;
  commands::StatusReport status() override;
  commands::RssReport rss() override;
  commands::RssBalance rebalance(bool is_dry) override;
  commands::NetdmaReport netdma() override;
  void calibrate_netdma(Done done) override;
  [[nodiscard]] const settings::Settings& settings() const override { return parts_.settings; }
  [[nodiscard]] const settings::Settings& stored_settings() const override { return stored_; }
  [[nodiscard]] bool is_storing() const override { return !config_path_.empty(); }
  Result<> change_settings(const settings::Settings& wanted) override;
  void log(const std::string& line) override;

 private:
  struct Found {
    Program* program;
    ipc::SlotId slot;
  };

  Result<> watch_signals();
  Result<> watch_private_process();
  void accept_all();
  void serve(Session& session, std::uint32_t events);
  bool take_message(Session& session);
  bool handle_message(Session& session, ipc::ReceivedMessage& received);
  bool on_attach(Session& session, const AttachRequest& request);
  bool tell_keeper(const Program& program, const Session& session);
  Result<std::reference_wrapper<Session>> add_session(std::unique_ptr<Session> session);
  Program& add_program(std::unique_ptr<Program> program, Session& session);
  Result<> adopt_program(KeptProgram& kept);
  void adopt_pairs(Kept& kept);
  Result<> adopt_local(Kept& kept, ipc::FlowId id);
  void hear_again(Program& program);
  bool on_lane(Session& session, const LaneRequest& request, UniqueFd eventfd);
  bool on_wait_set(Session& session, const WaitSetRequest& request, UniqueFd eventfd);
  bool on_command(Session& session, std::string_view text);
  // control_events.cpp
  void serve_events();
  bool on_subscribe(Session& session, std::string_view text);
  Result<> subscribe(Session& session, std::string_view text);
  bool on_verdict(Session& session, std::string_view text);
  Result<> take_verdict(const Session& session, std::string_view text);
  bool send_event(std::uint64_t session, const std::string& text);
  void run_command(Session& session, std::string_view text);
  void reply(std::uint64_t session, const Result<commands::Json>& result);
  void push_output(Session& session);
  void end_session(Session& session);
  void refuse(Session& session, const std::string& why);

  void end_program(Program& program, bool is_dead);
  void on_program_gone(std::uint32_t number);
  bool before_sleep();
  void take_requests();
  void take_request(Program& program, ipc::SlotId slot);
  void on_signal();
  void reload();
  void after_network_change();
  void tick();
  void balance();
  void check_stopped();
  void publish_settings();
  void apply_settings(const settings::Settings& wanted);
  // `noticed`: a change of the host is what made it different, and was seen then.
  void follow_policy(std::optional<Instant> noticed = {});

  std::optional<Found> find_slot(const FourTuple& flow);
  using Marks = std::map<FourTuple, host::SocketMark>;
  commands::ConnectionRow make_row(Program& program, ipc::SlotId slot, const SlotNote& note,
                                   const Marks& marks);
  void fill_ledger(commands::StatsReport& report) const;
  [[nodiscard]] commands::ConnectionRow make_orphan_row(const Flow& flow) const;
  void fill_engine_part(commands::ConnectionRow& row, ipc::FlowId id) const;
  [[nodiscard]] std::uint32_t shards() const {
    return static_cast<std::uint32_t>(parts_.inheritance.config.number(settings::Setting::kShards));
  }
  [[nodiscard]] const ipc::FlowRecord* records() const {
    return &parts_.inheritance.records->at<ipc::FlowRecord>(0);
  }
  [[nodiscard]] ipc::Bulletin& bulletin() const {
    return parts_.inheritance.bulletin->at<ipc::Bulletin>(0);
  }

  Parts parts_;
  std::map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::map<std::uint32_t, std::unique_ptr<Program>> programs_;
  std::uint64_t next_session_ = 1;
  std::uint32_t next_program_ = 1;
  UniqueFd signals_;
  UniqueFd private_process_;
  std::vector<std::byte> buffer_;
  settings::Settings stored_;  // what snpd will have when it starts again
  std::string config_path_;    // empty: changes are not kept
  Instant started_;
  Instant stop_deadline_ = kNever;
  std::uint32_t sleeps_ = 0;
  bool is_network_check_due_ = false;
  bool is_tick_due_ = false;
  bool is_balance_due_ = false;
  bool is_look_due_ = false;
  bool is_veto_check_due_ = false;
  bool is_stopping_ = false;
  bool is_private_process_gone_ = false;
};

}  // namespace snp::daemon
