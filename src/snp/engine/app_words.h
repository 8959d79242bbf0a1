// What a shard reads from an application's side of a slot. Everything there is hostile: read once,
// checked here, and only the checked copy is used. Pure; nothing of the arena is kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "snp/ipc/arena.h"
#include "snp/state/connection_state.h"
#include "snp/tcp/cc/congestion_control.h"

namespace snp::engine {

// One reading. Flags first: what the application wrote before it set a flag is then seen, too.
struct AppWords {
  std::uint32_t flags = 0;
  std::uint64_t tx_head = 0;
  std::uint64_t rx_tail = 0;
};

inline AppWords read_words(const ipc::SlotAppSide& app) noexcept {
  AppWords words;
  words.flags = app.flags.load(std::memory_order_acquire);
  words.tx_head = app.tx_head.load(std::memory_order_acquire);
  words.rx_tail = app.rx_tail.load(std::memory_order_acquire);
  return words;
}

// What the shard knows: from its own memory, never read back from the arena.
struct Bounds {
  AppWords accepted;          // the reading before
  std::uint64_t una_pos = 0;  // oldest byte of the transmit ring still needed
  std::uint32_t tx_size = 0;
  std::uint64_t rx_head = 0;  // as published
};

// Could an honest application have come from `accepted` to `words`?
constexpr bool is_plausible(const AppWords& words, const Bounds& bounds) noexcept {
  const AppWords& before = bounds.accepted;
  if (words.tx_head < before.tx_head || words.tx_head - bounds.una_pos > bounds.tx_size)
    return false;
  if (words.rx_tail < before.rx_tail || words.rx_tail > bounds.rx_head) return false;
  const bool wrote = words.tx_head != before.tx_head;
  return !wrote || (before.flags & ipc::slot_flag::kShutdownWrite) == 0;
}

// The options as the application set them, brought into ranges that Linux would accept; `is_v4`:
// its packets are.
inline void apply_options(const ipc::SlotOptions& raw, bool is_v4, CachedState& cached) noexcept {
  ipc::SlotOptions options;
  std::memcpy(&options, &raw, sizeof options);
  cached.no_delay = options.no_delay != 0;
  cached.cork = options.cork != 0;
  cached.quick_ack = options.quick_ack != 0;
  cached.keepalive.enabled = options.keepalive != 0;
  if (options.keepalive_idle_s != 0)
    cached.keepalive.idle_s = std::clamp(options.keepalive_idle_s, 1u, 32767u);
  if (options.keepalive_interval_s != 0)
    cached.keepalive.interval_s = std::clamp(options.keepalive_interval_s, 1u, 32767u);
  if (options.keepalive_probes != 0)
    cached.keepalive.probes = std::clamp(options.keepalive_probes, 1u, 127u);
  cached.user_timeout_ms = std::min(options.user_timeout_ms, 0x7fffffffu);
  cached.notsent_lowat = options.notsent_lowat;
  cached.linger_on = options.linger_on != 0;
  cached.linger_s = options.linger_s;
  cached.max_pacing_rate = options.max_pacing_rate;
  if (options.receive_buffer != 0) cached.receive_buffer = options.receive_buffer;
  if (options.send_buffer != 0) cached.send_buffer = options.send_buffer;
  cached.tos = is_v4 ? options.v4_tos : options.v6_tos;
  if (const std::uint8_t ttl = is_v4 ? options.v4_ttl : options.v6_ttl; ttl != 0) cached.ttl = ttl;
  options.congestion_control.back() = '\0';
  const auto* algorithm = tcp::find_congestion_algorithm(options.congestion_control.data());
  if (algorithm != nullptr) {
    cached.congestion_control.fill('\0');
    algorithm->name.copy(cached.congestion_control.data(), cached.congestion_control.size() - 1);
  }
}

}  // namespace snp::engine
