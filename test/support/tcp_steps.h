// Step tests for a Connection: a test reads as a script, and a step that fails prints everything
// that happened before it. Sequence numbers count from 0 on both sides; time is virtual.
#pragma once

#include <deque>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "snp/tcp/connection.h"

namespace snp::tcp::testing {

using Blocks = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

inline constexpr std::uint8_t kAck = TcpFlags::kAck;
inline constexpr std::uint8_t kFin = TcpFlags::kFin;
inline constexpr std::uint8_t kRst = TcpFlags::kRst;

// What the connection starts from: ESTABLISHED, nothing in any queue, the fields to be changed.
struct Start {
  ConnectionState state;
  Limits limits;
  std::uint32_t ring = 1u << 18;
  std::uint64_t queued = 0;  // bytes in the transmit ring, from snd_una on
  std::uint64_t unread = 0;  // bytes in the receive ring, up to rcv_nxt

  Start();
};

// A segment from the peer.
struct In {
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint32_t len = 0;
  std::uint8_t flags = kAck;
  std::uint16_t wnd = 2000;
  Blocks sack = {};
  std::uint16_t gso = 0;
  std::optional<std::uint32_t> ts_val = {};  // else the time
  std::optional<std::uint32_t> ts_ecr = {};  // else what we sent last
  bool is_ce = false;
};

// What is expected of a plan: the fields that are given.
struct Out {
  std::optional<std::uint32_t> seq = {};
  std::optional<std::uint32_t> len = {};
  std::optional<std::uint32_t> ack = {};
  std::optional<std::uint8_t> flags = {};
  std::optional<std::uint32_t> wnd_bytes = {};
  std::optional<Blocks> sack = {};
  std::optional<bool> resent = {};
  std::optional<std::uint32_t> gso = {};  // payload of each packet
};

class Steps {
 public:
  explicit Steps(const Start& start = {});

  Steps& receive(const In& in, bool is_acceptable = true);
  Steps& write(std::uint32_t bytes);
  Steps& consume(std::uint32_t bytes);  // compares what it takes
  Steps& shutdown();
  Steps& close();
  Steps& abort();
  Steps& update(const CachedState& cached);
  Steps& pass(Duration time);  // timers run when they are due
  Steps& hand_over();          // freeze, export, and a new connection from that

  Steps& expect(const Out& out);
  Steps& expect_none();
  Steps& expect_state(TcpState state);
  Steps& expect_events(std::uint32_t events);  // exactly these since the last look
  Steps& forget_output();
  // The next packet that was sent, as a device cuts it: relative number and length of its text;
  // nothing: none is left.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> take_packet();
  Steps& forget_events();

  [[nodiscard]] Connection& connection() { return *connection_; }
  [[nodiscard]] Instant now() const { return now_; }
  [[nodiscard]] std::size_t pending() const { return plans_.size(); }

 private:
  void drain();
  void note(const std::string& line);
  void fail(const std::string& why);
  [[nodiscard]] std::string describe(const SegmentPlan& plan) const;

  Start start_;
  SeqNum iss_, irs_;
  std::vector<std::byte> tx_, rx_;
  std::optional<Connection> connection_;
  Instant now_;
  std::uint64_t consumed_ = 0;
  std::uint32_t last_ts_ = 0;
  std::uint32_t events_ = 0;
  std::deque<SegmentPlan> plans_;
  std::ostringstream transcript_;
};

}  // namespace snp::tcp::testing
