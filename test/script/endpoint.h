// One end of a connection as a script sees it: the connection, its rings, the application and its
// system calls. The other end is the script. Time is virtual and moved by the runner.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snp/ipc/flow_record.h"
#include "snp/tcp/connection.h"

#include "test/script/script.h"

namespace snp::script {

// What was sent, with the moment.
struct Sent {
  tcp::SegmentPlan plan;
  Instant when;
  bool is_owed = false;  // the ACK that is sent because the connection changes hands
};

// How a connection changes hands: orderly, as an upload and an offload do it (freeze, the ACK that
// is owed, export); or from the flow record of an engine that was killed between two turns.
enum class HandOver : std::uint8_t { kOrderly, kRestart };

// What a system call gave: -1 with the name of an error, else a number.
struct CallResult {
  std::int64_t value = 0;
  std::string error;
};

class Endpoint {
 public:
  Endpoint(const Setup& setup, Instant now);

  // Timers that are due run first. Pre: `now` is not before the last one.
  void pass_until(Instant now);
  [[nodiscard]] Instant next_timeout() const;
  [[nodiscard]] Instant now() const { return now_; }

  void receive(const Packet& packet);
  Result<CallResult> call(const Call& call);  // fails when the script makes no sense
  void set_path_mtu(std::uint32_t mtu);
  void hand_over(HandOver kind);
  void upload(HandOver kind);  // after this nobody answers: what arrives is held
  void offload();

  [[nodiscard]] bool is_here() const { return connection_.has_value(); }
  [[nodiscard]] std::uint32_t handovers() const { return handovers_; }
  [[nodiscard]] std::deque<Sent>& sent() { return sent_; }
  // Something that must never happen, such as a wrong byte; empty: nothing.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }
  // What a name in an assertion stands for.
  [[nodiscard]] std::optional<std::int64_t> value_of(std::string_view name) const;

  // Between numbers of the wire and those of the script.
  [[nodiscard]] SeqNum ours(std::uint32_t relative) const { return iss_ + relative; }
  [[nodiscard]] SeqNum peers(std::uint32_t relative) const { return irs_ + relative; }

 private:
  void drain(bool is_owed = false);
  void check_payload(const tcp::SegmentPlan& plan);
  void deliver(const Packet& packet);
  void forget_connection();
  CallResult write(std::uint32_t bytes);
  CallResult read(std::uint32_t bytes);
  CallResult shut_down();
  CallResult close();
  Result<CallResult> set_option(const Call& call);
  bool set_number(std::string_view name, std::uint32_t value, const Call& call);
  template <class Count>
  [[nodiscard]] std::int64_t total(Count tcp::Info::*field) const {
    return static_cast<std::int64_t>(before_.*field + connection_->info().*field);
  }

  tcp::Limits limits_;
  CachedState cached_;
  SeqNum iss_, irs_;
  std::vector<std::byte> tx_, rx_;
  tcp::Streams streams_;  // while the connection is away
  std::optional<tcp::Connection> connection_;
  ipc::FlowRecord record_;
  Instant now_;
  std::deque<Sent> sent_;
  std::vector<Packet> held_;
  std::uint32_t handovers_ = 0;
  std::uint32_t events_ = 0;  // all that ever happened
  std::string pending_error_;
  bool has_shut_down_ = false, has_closed_ = false;
  std::uint16_t last_wnd_;
  tcp::Info before_;  // counters of the connections before the last hand-over
  std::string complaint_;
};

}  // namespace snp::script
