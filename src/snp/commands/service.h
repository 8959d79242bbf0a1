// What a command may ask of snpd. Implemented by daemon/, faked by tests. Control thread only;
// answers that take time come through callbacks on the same thread, each exactly once.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/chimney/policy.h"
#include "snp/chimney/reason.h"
#include "snp/netdma/calibration.h"
#include "snp/rss/hash_type.h"
#include "snp/settings/settings.h"
#include "snp/stats/ledger.h"
#include "snp/stats/netdma_stats.h"
#include "snp/wire/address.h"

namespace snp::commands {

// What host or target has carried of a connection, each segment and byte in one of them only.
struct CarriedPart {
  std::uint64_t segments_in = 0, segments_out = 0, retransmits = 0;  // as the device cuts them
  std::uint64_t bytes_in = 0, bytes_out = 0;                         // of payload, each once
};

struct ConnectionRow {
  FourTuple flow;
  std::uint32_t pid = 0;  // 0: the program has closed it or ended; the engine finishes alone
  int fd = -1;
  std::string program;
  std::string offload_state;  // InHost, Offloading, Offloaded, Uploading
  std::string target;         // "engine", "local" or empty
  std::uint32_t shard = 0;
  chimney::Reason reason = chimney::Reason::kNotAskedYet;
  std::string reason_detail;  // which table, chain, policy or device it is; may be empty
  std::uint64_t bytes_in = 0, bytes_out = 0;
  std::uint32_t hand_overs = 0;
  std::uint32_t quiet_us = 0;  // of the last hand-over; 0: there was none
  std::string tcp_state;       // as the engine knows it; empty when in the host
  std::uint32_t srtt_us = 0, retransmits = 0;
  CarriedPart host_part, target_part;
  // Of the program at the other end; local target only.
  std::uint32_t peer_pid = 0;
  std::string peer_program;
};

// A TCP socket of the host.
struct TcpSocket {
  FourTuple flow;
  std::string state;  // "ESTABLISHED", "LISTENING", ...
  bool is_listening = false;
};

// What of the host's own TCP netsh shows.
struct HostTcp {
  bool is_autotuning = true;
  int ecn = 0;  // net.ipv4.tcp_ecn
  bool has_timestamps = true;
};

struct DeviceRow {
  std::uint32_t ifindex = 0;
  std::string name;
  bool is_served = false, is_up = false;
  std::uint64_t offloaded = 0;                // connections now
  std::uint64_t bytes_in = 0, bytes_out = 0;  // carried for them
  std::vector<std::string> task_offloads;     // what the device does for the host
  // Of offloaded connections, so far.
  std::uint64_t segments_out = 0, retransmits = 0, frames_in = 0, errors_in = 0;
};

// What a setting asks for and what this version does about it, in one place for all commands.
inline constexpr std::string_view kRssFeature = "Receive-Side Scaling";
inline constexpr std::string_view kNetdmaFeature = "NetDMA";
struct FeatureState {
  std::string_view name;
  bool is_operational = false;
  std::string statement;  // a sentence
};

// A connection that may not exist: what is not said is not known.
struct PolicyQuestion {
  FourTuple flow;
  std::string program;  // path
  std::optional<std::uint32_t> uid;
  std::string cgroup;
};

struct PolicyAnswer {
  chimney::Reason reason = chimney::Reason::kOffloaded;  // kOffloaded: it may be
  chimney::PolicyStep step = chimney::PolicyStep::kWorth;
  std::size_t rule_line = 0;  // of the rule that matches; 0: none does
  std::string rule;           // as written
  std::string detail;         // chimney::Verdict's
};

// What mode automatic has learned.
struct LearnedTarget {
  std::string name;
  std::uint64_t hand_overs = 0;  // that the figures are made of; 0: they are assumed
  std::uint64_t cost_us = 0;     // of a hand-over: quiet time and CPU
  std::uint64_t gain_per_message_ns = 0, gain_per_kib_ns = 0;
};
struct LearnedOrigin {
  std::string name;
  chimney::Outcomes outcomes;
  std::uint32_t message_bytes = 0;  // 0: not known
  chimney::Prediction prediction = chimney::Prediction::kUnknown;
};
struct LearnedReport {
  std::vector<LearnedTarget> targets;
  std::vector<LearnedOrigin> origins;
};

// Something of the host with which offload does not go together.
struct FeatureRow {
  chimney::Reason reason;
  std::string what;
  bool is_respected = true;  // false: a setting overrules it
};

struct HandOverStats {
  std::uint64_t done = 0, failed = 0;
  std::uint32_t quiet_p50_us = 0, quiet_p99_us = 0, quiet_max_us = 0;
  std::uint64_t queued_bytes = 0;  // moved with the connections, both queues
};

// Of connections that a change of the host (a firewall, ...) has sent home, from when snpd saw it.
struct WayHomeStats {
  std::uint64_t done = 0;
  std::uint32_t p50_us = 0, p99_us = 0, max_us = 0;
};

struct ReasonCount {
  chimney::Reason reason;
  std::uint64_t count;
};

struct PathStats {
  std::uint64_t connections = 0, bytes_in = 0, bytes_out = 0;
};

struct Metric {
  std::string name;
  std::uint64_t value = 0;
};

// What a device has carried, frames with their Ethernet headers.
struct LinkPart {
  std::uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0;
};

struct DeviceLedger {
  std::uint32_t ifindex = 0;
  std::string name;
  LinkPart link;                                            // host and target together
  std::array<stats::PathCounters, stats::kFamilies> paths;  // of the target
  std::optional<stats::MibValues> host_ip6;  // Linux counts IPv6 by device, and IPv4 not
};

struct StatsReport {
  PathStats host, target;  // target: the engine's
  PathStats local;         // the local target's; bytes of both ends are the same bytes
  HandOverStats offload, upload;
  WayHomeStats way_home;
  std::vector<Metric> engine;         // what the shards have counted
  std::vector<ReasonCount> declined;  // offloads that did not happen, by reason
  stats::LedgerSources ledger;
  std::vector<DeviceLedger> devices;
};

// Who hears of what happens, or may refuse it (doc/events.md).
struct ClientRow {
  std::string name;
  std::uint32_t pid = 0;
  bool has_veto = false;
  std::uint64_t events = 0, lost = 0;  // lost: it did not read in time
  std::uint64_t questions = 0, refusals = 0, unanswered = 0;
};

struct StatusReport {
  std::uint32_t pid = 0, keeper_pid = 0;
  std::uint64_t uptime_s = 0;
  std::string chimney;
  std::uint32_t shards = 0;
  std::vector<std::string> devices;
  std::vector<std::string> device_switches;  // as in the setting chimney_devices
  std::uint32_t programs = 0, connections = 0, offloaded = 0, max_connections = 0;
  std::uint32_t engine_restarts = 0;
  std::vector<FeatureRow> features;  // that keep connections in the host
  std::vector<ClientRow> clients;
};

// How one device spreads the host's packets.
struct HostRssRow {
  std::string device;
  std::string backend;                 // card, cpumap, rps or none: what it is now
  std::string why;                     // a sentence
  bool has_failed = false;             // it is not what the settings ask for
  std::string cpu_set, cpus;           // lists like 0-2,5: that may be used; that are
  std::vector<std::uint32_t> table;    // CPU of each bucket; empty: there is no such table
  std::vector<std::uint32_t> queues;   // of the card's table, as ethtool -x shows it
  std::vector<std::uint64_t> packets;  // of each bucket; empty: not counted
  std::string remark;                  // what differs from what was asked
  bool is_balancing = false;
  std::uint64_t buckets_moved = 0;
  std::vector<std::string> last_moves;
  std::vector<std::uint32_t> elephants;
};

// How received packets are distributed over the shards.
struct RssReport {
  bool is_enabled = false, is_balancing = false;
  std::string profile;
  std::string key;  // "random", "symmetric", "set"; never the key itself
  rss::HashTypes types = 0;
  std::vector<std::uint32_t> table;    // shard of each bucket
  std::vector<std::uint64_t> packets;  // of each bucket; empty when off
  std::uint32_t default_shard = 0;
  std::vector<std::uint64_t> connections;  // of each shard
  std::uint64_t buckets_moved = 0;
  std::uint64_t connections_moved = 0, connections_stayed = 0;  // could not move any more
  std::uint32_t quiet_p99_us = 0;                               // of the moved connections
  std::vector<std::string> last_moves;                          // why, the latest last
  std::vector<std::string> elephants;  // buckets that a connection or few make heavy
  std::vector<HostRssRow> host;        // one a device
};

struct RssBalance {
  double imbalance_before = 0, imbalance_after = 0;  // largest over mean, minus one
  std::vector<std::string> moves;
  std::vector<std::uint32_t> heavy_buckets;
};

// The copy engine of the shards.
struct NetdmaReport {
  bool is_enabled = false;
  std::string backend;         // as set
  std::string engine;          // what it came to: "thread", "dmadev wq0.0"; empty: there is none
  std::string fault;           // why there is none that could be used; empty: nothing went wrong
  std::uint32_t channels = 0;  // one per shard
  std::uint32_t quarantined = 0;
  std::uint32_t min_bytes = 0, sync_below_bytes = 0;
  bool is_break_even_ignored = false;
  netdma::Calibration calibration;
  stats::NetdmaSnapshot counts;
};

class Service {
 public:
  using Done = std::function<void(Result<>)>;
  virtual ~Service() = default;

  virtual std::vector<ConnectionRow> connections() = 0;
  virtual void offload(const FourTuple& flow, Done done) = 0;
  virtual void upload(const FourTuple& flow, Done done) = 0;
  // `done` gets how many came home, or the first failure.
  virtual void upload_all(std::function<void(Result<std::uint32_t>)> done) = 0;
  // What policy says now: of a connection of an attached program (looked at again, whatever its row
  // says), or of one that does not exist.
  virtual PolicyAnswer judge(const PolicyQuestion& question) = 0;
  [[nodiscard]] virtual const chimney::Rules& rules() const = 0;
  virtual LearnedReport learned() = 0;
  [[nodiscard]] virtual std::string rules_path() const = 0;  // where they are kept; empty: nowhere
  // All of the text or nothing; kept, then in effect. `name` is for the error.
  virtual Result<> load_rules(const std::string& text, const std::string& name) = 0;
  virtual Result<std::vector<TcpSocket>> tcp_sockets() = 0;
  virtual HostTcp host_tcp() = 0;
  virtual std::vector<DeviceRow> devices() = 0;
  virtual std::vector<FeatureState> features() = 0;
  virtual StatsReport stats() = 0;
  virtual StatusReport status() = 0;
  virtual RssReport rss() = 0;
  virtual RssBalance rebalance(bool is_dry) = 0;
  virtual NetdmaReport netdma() = 0;
  // Takes a second; netdma() has the figures then.
  virtual void calibrate_netdma(Done done) = 0;
  // What is in effect, and what will be when snpd starts again.
  [[nodiscard]] virtual const settings::Settings& settings() const = 0;
  [[nodiscard]] virtual const settings::Settings& stored_settings() const = 0;
  [[nodiscard]] virtual bool is_storing() const = 0;  // false: changes end with snpd
  // `wanted` is stored_settings() with changes: all of them are kept and take effect, or none.
  virtual Result<> change_settings(const settings::Settings& wanted) = 0;
  virtual void log(const std::string& line) = 0;  // a warning in snpd's log
};

}  // namespace snp::commands
