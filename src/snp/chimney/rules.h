// Policy rules: a small language in which an administrator says which connections are offloaded, in
// the spirit of Chelsio's connection offload policy. Ordered, the first rule that matches decides.
// Pure.
//
//   # conditions, joined by &&                                  => what happens, and how
//   program /usr/sbin/nginx, redis-server && local port 80, 6000-6999 => offload cong cubic ring 4M
//   remote net 10.0.0.0/8, fd00::/8 && !interface veth*         => automatic
//   uid 1000-1999 && cgroup /system.slice/backup.service        => !offload
//   all                                                         => automatic
//
// offload: at once. !offload: it stays in the host. automatic: when it has proved worth it. No rule
// matches: as the setting `chimney` says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/wire/address.h"

namespace snp::chimney {

struct Range {
  std::uint64_t first = 0, last = 0;
  [[nodiscard]] bool contains(std::uint64_t n) const noexcept { return first <= n && n <= last; }
};

struct AddressPrefix {
  IpAddress address;      // bits behind the prefix are zero
  std::uint8_t bits = 0;  // of the IPv6 form: an IPv4 prefix has 96 more
  [[nodiscard]] bool contains(const IpAddress& other) const noexcept;
};

struct Condition {
  enum class What : std::uint8_t {
    kAll,
    kProgram,  // path of the executable, or a name; * at the end: anything that begins so
    kUid,
    kCgroup,      // the group or one below it
    kInterface,   // as kProgram's names
    kLocalNet,    //
    kRemoteNet,   //
    kNet,         // either end
    kLocalPort,   //
    kRemotePort,  //
    kPort,        // either end
  };
  What what = What::kAll;
  bool is_negated = false;
  std::vector<std::string> names;
  std::vector<Range> numbers;
  std::vector<AddressPrefix> nets;
};

enum class RuleAction : std::uint8_t { kOffload, kHost, kAutomatic };

// How a connection is carried; what a rule leaves out is as the settings say.
struct Treatment {
  std::string congestion_control;  // empty: not said
  std::uint64_t rx_ring = 0, tx_ring = 0;
  std::optional<std::uint32_t> shard;
};

struct Rule {
  std::vector<Condition> conditions;  // all must hold
  RuleAction action = RuleAction::kAutomatic;
  Treatment treatment;
  std::size_t line = 0;  // in its file, from 1
  std::string text;      // as written
};

using Rules = std::vector<Rule>;

// What a treatment may say.
struct RuleLimits {
  std::vector<std::string> congestion_controls;
  std::uint64_t ring_min = 0, ring_max = 0;
  std::uint32_t shards = 1;
};

inline constexpr std::size_t kMostRules = 1000;
inline constexpr std::size_t kMostRuleBytes = 48 * 1024;

// All of the text or the first mistake: "NAME:LINE:COLUMN: what; what is allowed".
Result<Rules> parse_rules(std::string_view text, const std::string& name, const RuleLimits& limits);

const char* to_string(RuleAction) noexcept;

}  // namespace snp::chimney
