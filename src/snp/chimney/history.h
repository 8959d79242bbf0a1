// What became of earlier connections with the same origin, and what that predicts for the next one.
// Pure; a table of fixed size, plain data, so that it may stand in memory that outlives an engine.
// One thread.
//
// An origin is where connections come from: of accepted ones the listener, of others the program
// and the port that it connects to. Of each origin the last 50 outcomes are kept; half of them are
// forgotten with every ten minutes of silence. When the table is full, the origin that was silent
// longest makes room.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/time.h"
#include "snp/wire/address.h"

namespace snp::chimney {

struct Origin {
  bool is_listener = false;
  Endpoint endpoint;               // the listener's; else only the port counts, the remote one
  std::array<char, 32> program{};  // not of a listener; zeros after the name

  static Origin listener(const Endpoint& local) noexcept;
  static Origin outgoing(std::string_view program, std::uint16_t remote_port) noexcept;
  friend bool operator==(const Origin&, const Origin&) = default;
};
// "listener 0.0.0.0:6379", "nginx to port 8080"
std::string to_string(const Origin& origin);

enum class Prediction : std::uint8_t { kUnknown, kPays, kDoesNot };

// Of the connections that were looked at last, how many carried enough to pay for a hand-over.
struct Outcomes {
  std::uint32_t earned = 0, of = 0;
};
// Eight outcomes predict something: `eager_percent` of them earned, or one in ten at most. 0:
// never.
Prediction predict(const Outcomes& outcomes, std::uint32_t eager_percent) noexcept;
// "48 of the last 50 connections earned their hand-over"
std::string to_string(const Outcomes& outcomes);

class History {
 public:
  static constexpr std::uint32_t kWindow = 50;
  static constexpr Duration kHalfLife = seconds(600);

  // `message_bytes`: mean size of a message of that connection; 0: not known.
  void add(const Origin& origin, bool has_earned, std::uint32_t message_bytes,
           Instant now) noexcept;
  [[nodiscard]] Outcomes outcomes(const Origin& origin, Instant now) const noexcept;
  // Of the origin's connections; 0: not known.
  [[nodiscard]] std::uint32_t message_bytes(const Origin& origin) const noexcept;

  struct Row {
    Origin origin;
    Outcomes outcomes;
    std::uint32_t message_bytes = 0;
  };
  // Every origin of which something is remembered, the best known first.
  [[nodiscard]] std::vector<Row> rows(Instant now) const;

  // See Economics::tidy().
  void tidy(Instant now) noexcept;

 private:
  struct Entry {
    Origin origin;
    std::uint32_t hash = 0;
    std::uint32_t count = 0;   // of valid bits in `window`; 0: the entry is free
    std::uint64_t window = 0;  // bit 0: the last outcome; 1: earned
    Instant last{};
    std::uint32_t message_bytes = 0;
  };
  static constexpr std::size_t kWays = 8, kSets = 64;

  static Outcomes outcomes_of(const Entry& entry, Instant now) noexcept;
  [[nodiscard]] const Entry* find(const Origin& origin) const noexcept;
  Entry& find_or_make(const Origin& origin, Instant now) noexcept;

  std::array<std::array<Entry, kWays>, kSets> sets_{};
};

}  // namespace snp::chimney
