#include "test/path/impairment.h"

#include <algorithm>
#include <cstdlib>

namespace snp::path {
namespace {

Duration milliseconds_of(double ms) {
  return Duration(static_cast<std::int64_t>(ms * 1e6));
}

bool assign(LinkConfig& config, std::string_view name, double value) {
  const bool is_chance = value <= 1;
  if (value < 0) return false;
  if (name == "delay_ms")
    config.delay = milliseconds_of(value);
  else if (name == "rate_mbps")
    config.rate_bps = value * 1e6;
  else if (name == "queue_kb")
    config.queue_bytes = static_cast<std::uint32_t>(value * 1000);
  else if (name == "longest_burst")
    config.longest_burst = static_cast<std::uint32_t>(value);
  else if (name == "reorder_ms")
    config.reorder_delay = milliseconds_of(value);
  else if (name == "loss" && is_chance)
    config.loss = value;
  else if (name == "burst_begin" && is_chance)
    config.burst_begin = value;
  else if (name == "burst_end" && is_chance)
    config.burst_end = value;
  else if (name == "reorder" && is_chance)
    config.reorder = value;
  else if (name == "duplicate" && is_chance)
    config.duplicate = value;
  else if (name == "mark" && is_chance)
    config.mark = value;
  else
    return false;
  return true;
}

}  // namespace

std::optional<LinkConfig> parse_link_config(std::string_view text) {
  LinkConfig config;
  while (!text.empty()) {
    const std::string word(text.substr(0, text.find(',')));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals + 1 == word.size()) return std::nullopt;
    char* end = nullptr;
    const double value = std::strtod(word.c_str() + equals + 1, &end);
    if (*end != 0 || !assign(config, std::string_view(word).substr(0, equals), value))
      return std::nullopt;
  }
  return config;
}

bool Impairment::is_lost(Random& random) {
  if (!is_bad_) {
    is_bad_ = happens(random, config_.burst_begin);
    burst_length_ = 0;
  } else {
    const bool is_longest = config_.longest_burst != 0 && burst_length_ >= config_.longest_burst;
    is_bad_ = !is_longest && !happens(random, config_.burst_end);
  }
  if (is_bad_) {
    ++burst_length_;
    return true;
  }
  return happens(random, config_.loss);
}

std::optional<Instant> Impairment::depart(std::size_t wire_bytes, Instant now) {
  if (config_.rate_bps <= 0) return now;
  free_at_ = std::max(free_at_, now);
  const double waiting =
      std::chrono::duration<double>(free_at_ - now).count() * config_.rate_bps / 8;
  if (config_.queue_bytes != 0 && waiting > config_.queue_bytes) return std::nullopt;
  const double bits = 8.0 * static_cast<double>(wire_bytes);
  free_at_ += Duration(static_cast<std::int64_t>(bits / config_.rate_bps * 1e9));
  return free_at_;
}

Impairment::Fate Impairment::send(std::size_t wire_bytes, bool is_ect, Instant now,
                                  Random& random) {
  Fate fate;
  ++counts_.packets;
  if (is_lost(random)) {
    ++counts_.lost;
    return fate;
  }
  const auto departure = depart(wire_bytes, now);
  if (!departure) {
    ++counts_.overflowed;
    return fate;
  }
  Instant arrival = *departure + config_.delay;
  if (is_ect && happens(random, config_.mark)) {
    fate.is_marked = true;
    ++counts_.marked;
  }
  if (happens(random, config_.reorder)) {
    const auto most = std::max<std::int64_t>(config_.reorder_delay.count(), 1);
    arrival += Duration(std::uniform_int_distribution<std::int64_t>(0, most - 1)(random));
    ++counts_.reordered;
  }
  fate.copies = 1;
  fate.arrivals[0] = arrival;
  if (happens(random, config_.duplicate)) {
    fate.copies = 2;
    fate.arrivals[1] = arrival + microseconds(1);
    ++counts_.duplicated;
  }
  return fate;
}

}  // namespace snp::path
