#include "test/script/setup.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <functional>
#include <limits>
#include <string>

namespace snp::script {
namespace {

constexpr std::uint32_t kUnset = 0xffffffff;
constexpr std::uint32_t kMaxRing = 1u << 26;

Failure wrong(std::string_view what) {
  return fail(Errc::kInvalid, std::string(what));
}

// A value of an option, and where it goes.
using Apply = Result<> (*)(std::string_view value, Setup& setup);

template <class T>
Result<> store(std::string_view value, T& out, std::uint32_t most) {
  const auto number = parse_number(value);
  if (!number || *number > most)
    return wrong("expected a number up to " + std::to_string(most) + ", not " + std::string(value));
  out = static_cast<T>(*number);
  return {};
}

Result<> store_flag(std::string_view value, bool& out) {
  if (value != "on" && value != "off" && !value.empty())
    return wrong("expected on or off, not " + std::string(value));
  out = value != "off";
  return {};
}

Result<> store_us(std::string_view value, std::uint32_t& out) {
  const auto duration = parse_duration(value);
  if (!duration || *duration > seconds(120))
    return wrong("expected a time, not " + std::string(value));
  out = static_cast<std::uint32_t>(*duration / microseconds(1));
  return {};
}

Result<> store_ring(std::string_view value, std::uint32_t& out) {
  if (auto stored = store(value, out, kMaxRing); !stored) return stored;
  if (!std::has_single_bit(out)) return wrong("a ring's size is a power of two");
  return {};
}

Result<> store_state(std::string_view value, TcpState& out) {
  for (std::uint8_t i = 0; i <= static_cast<std::uint8_t>(TcpState::kTimeWait); ++i) {
    out = static_cast<TcpState>(i);
    if (value == to_string(out)) return {};
  }
  return wrong("there is no state " + std::string(value) + " to start in");
}

// peer's,ours
Result<> store_shifts(std::string_view value, ConstState& out) {
  const std::size_t comma = value.find(',');
  if (comma == std::string_view::npos) return wrong("expected the peer's shift,our shift");
  out.window_scaling = true;
  if (auto stored = store(value.substr(0, comma), out.snd_wind_shift, 14); !stored) return stored;
  return store(value.substr(comma + 1), out.rcv_wind_shift, 14);
}

// idle,interval,probes
Result<> store_keepalive(std::string_view value, Keepalive& out) {
  const std::size_t first = value.find(',');
  const std::size_t second = first == std::string_view::npos ? first : value.find(',', first + 1);
  if (second == std::string_view::npos) return wrong("expected idle,interval,probes");
  out.enabled = true;
  if (auto stored = store(value.substr(0, first), out.idle_s, 32767); !stored) return stored;
  if (auto stored = store(value.substr(first + 1, second - first - 1), out.interval_s, 32767);
      !stored)
    return stored;
  return store(value.substr(second + 1), out.probes, 127);
}

Result<> store_algorithm(std::string_view value, CachedState& out) {
  for (const tcp::CongestionAlgorithm* algorithm : tcp::congestion_algorithms())
    if (algorithm->name == value) {
      out.congestion_control.fill('\0');
      std::copy(value.begin(), value.end(), out.congestion_control.begin());
      return {};
    }
  return wrong("there is no congestion control " + std::string(value));
}

Result<> store_duration(std::string_view value, Duration& out) {
  const auto duration = parse_duration(value);
  if (!duration) return wrong("expected a time, not " + std::string(value));
  out = *duration;
  return {};
}

Result<> store_ip(std::string_view value, ConnectionState& out) {
  if (value != "ipv4" && value != "ipv6") return wrong("expected ipv4 or ipv6");
  const IpAddress v6{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
  out.constant.tuple.remote.address = value == "ipv4" ? IpAddress::v4(192, 0, 2, 1) : v6;
  return {};
}

struct Option {
  std::string_view name;
  Apply apply;
};

using V = std::string_view;
constexpr std::array kOptions{
    Option{"ip_version", [](V v, Setup& s) { return store_ip(v, s.state); }},
    Option{"state", [](V v, Setup& s) { return store_state(v, s.state.delegated.state); }},
    Option{"mss", [](V v, Setup& s) { return store(v, s.state.constant.remote_mss, 65495); }},
    Option{"mtu", [](V v, Setup& s) { return store(v, s.state.cached.path_mtu, 65535); }},
    Option{"timestamps", [](V v, Setup& s) { return store_flag(v, s.state.constant.timestamps); }},
    Option{"sack", [](V v, Setup& s) { return store_flag(v, s.state.constant.sack); }},
    Option{"ecn", [](V v, Setup& s) { return store_flag(v, s.state.constant.ecn); }},
    Option{"wscale", [](V v, Setup& s) { return store_shifts(v, s.state.constant); }},
    Option{"ts_val", [](V v, Setup& s) { return store(v, s.state.delegated.ts_val, kUnset); }},
    Option{"ts_recent",
           [](V v, Setup& s) { return store(v, s.state.delegated.ts_recent, kUnset); }},
    Option{"ts_recent_age_ms",
           [](V v, Setup& s) { return store(v, s.state.delegated.ts_recent_age_ms, kUnset); }},
    Option{"iss",
           [](V v, Setup& s) {
             std::uint32_t n = 0;
             auto stored = store(v, n, kUnset);
             s.iss = SeqNum(n);
             return stored;
           }},
    Option{"irs",
           [](V v, Setup& s) {
             std::uint32_t n = 0;
             auto stored = store(v, n, kUnset);
             s.irs = SeqNum(n);
             return stored;
           }},
    Option{"cwnd", [](V v, Setup& s) { return store(v, s.state.delegated.cwnd_bytes, 100'000); }},
    Option{"ssthresh",
           [](V v, Setup& s) { return store(v, s.state.delegated.ssthresh_bytes, 100'000); }},
    Option{"srtt", [](V v, Setup& s) { return store_us(v, s.state.delegated.srtt_us); }},
    Option{"rttvar", [](V v, Setup& s) { return store_us(v, s.state.delegated.rttvar_us); }},
    Option{"min_rtt", [](V v, Setup& s) { return store_us(v, s.state.delegated.min_rtt_us); }},
    Option{"rto_ms", [](V v, Setup& s) { return store(v, s.state.delegated.rto_ms, 120'000); }},
    Option{"snd_wnd", [](V v, Setup& s) { return store(v, s.state.delegated.snd_wnd, 1u << 30); }},
    Option{"rcv_wnd", [](V v, Setup& s) { return store(v, s.state.delegated.rcv_wnd, 1u << 30); }},
    Option{"sndbuf", [](V v, Setup& s) { return store_ring(v, s.sndbuf); }},
    Option{"rcvbuf", [](V v, Setup& s) { return store_ring(v, s.rcvbuf); }},
    Option{"receive_buffer",
           [](V v, Setup& s) { return store(v, s.limits.receive_buffer, kMaxRing); }},
    Option{"send_buffer", [](V v, Setup& s) { return store(v, s.limits.send_buffer, kMaxRing); }},
    Option{"queued", [](V v, Setup& s) { return store(v, s.queued, kMaxRing); }},
    Option{"sent", [](V v, Setup& s) { return store(v, s.sent, kMaxRing); }},
    Option{"unread", [](V v, Setup& s) { return store(v, s.unread, kMaxRing); }},
    Option{"retransmits",
           [](V v, Setup& s) { return store(v, s.state.delegated.retransmits, 255); }},
    Option{"nodelay", [](V v, Setup& s) { return store_flag(v, s.state.cached.no_delay); }},
    Option{"cork", [](V v, Setup& s) { return store_flag(v, s.state.cached.cork); }},
    Option{"quickack", [](V v, Setup& s) { return store_flag(v, s.state.cached.quick_ack); }},
    Option{"keepalive", [](V v, Setup& s) { return store_keepalive(v, s.state.cached.keepalive); }},
    Option{"user_timeout_ms",
           [](V v, Setup& s) { return store(v, s.state.cached.user_timeout_ms, 0x7fffffff); }},
    Option{"cc", [](V v, Setup& s) { return store_algorithm(v, s.state.cached); }},
    Option{"gso", [](V v, Setup& s) { return store(v, s.limits.max_segment_payload, 65536); }},
    Option{"time_wait", [](V v, Setup& s) { return store_duration(v, s.limits.time_wait); }},
    Option{"max_ack_delay",
           [](V v, Setup& s) { return store_duration(v, s.limits.max_ack_delay); }},
};

}  // namespace

std::optional<std::uint32_t> parse_number(std::string_view text) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<Duration> parse_duration(std::string_view text) {
  std::int64_t unit = 1'000'000'000;
  const auto strip = [&](std::string_view suffix, std::int64_t ns) {
    if (!text.ends_with(suffix)) return false;
    text.remove_suffix(suffix.size());
    unit = ns;
    return true;
  };
  (void)(strip("ms", 1'000'000) || strip("us", 1'000) || strip("s", 1'000'000'000));
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction = text.substr(std::min(point + 1, text.size()));
  if (whole.empty() && fraction.empty()) return std::nullopt;
  std::int64_t value = 0;
  if (!whole.empty()) {
    const auto number = parse_number(whole);
    if (!number) return std::nullopt;
    value = *number * unit;
  }
  for (const char c : fraction) {
    if (c < '0' || c > '9' || unit % 10 != 0) return std::nullopt;
    unit /= 10;
    value += (c - '0') * unit;
  }
  return Duration(value);
}

// 1000-byte segments, a round trip of 100 ms and so a timeout of 300 ms, the widest window that
// needs no scaling; cwnd and ssthresh count segments until complete().
Setup::Setup() {
  state.constant.remote_mss = 1000;
  state.constant.tuple.remote.address = IpAddress::v4(192, 0, 2, 1);
  std::string_view("cubic").copy(state.cached.congestion_control.data(), 15);
  DelegatedState& d = state.delegated;
  d.cwnd_bytes = 10;
  d.ssthresh_bytes = kUnset;
  d.srtt_us = 100'000;
  d.rttvar_us = 25'000;
  d.min_rtt_us = 100'000;
  d.snd_wnd = 65'535;
  d.rcv_wnd = kUnset;
  d.ts_val = 1000;
  d.ts_recent = 1000;
  limits.max_segment_payload = 1;  // one segment in a plan
}

Result<> apply_option(std::string_view option, Setup& setup) {
  const std::size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view() : option.substr(equals + 1);
  for (const Option& known : kOptions)
    if (known.name == name) {
      auto applied = known.apply(value, setup);
      if (!applied) return with_context("--" + std::string(name), applied.error());
      return applied;
    }
  return wrong("there is no option --" + std::string(name));
}

Result<> complete(Setup& setup) {
  ConstState& constant = setup.state.constant;
  DelegatedState& d = setup.state.delegated;
  const std::uint32_t mss = constant.remote_mss - (constant.timestamps ? 12u : 0u);
  d.cwnd_bytes *= mss;
  if (d.ssthresh_bytes != kUnset) d.ssthresh_bytes *= mss;
  d.snd_una = setup.iss + 1;
  d.snd_nxt = d.snd_max = d.snd_una + setup.sent;
  d.rcv_nxt = d.rcv_wup = setup.irs + 1;
  d.snd_wl1 = d.rcv_nxt;
  d.snd_wl2 = d.snd_una;
  d.max_snd_wnd = std::max(d.max_snd_wnd, d.snd_wnd);
  const std::uint32_t most = 0xffffu << constant.rcv_wind_shift;
  d.rcv_wnd = std::min({d.rcv_wnd, setup.rcvbuf - std::min(setup.unread, setup.rcvbuf), most});
  d.ts_val -= 1;  // the connection goes on with the next value
  if (!constant.timestamps) d.ts_recent = 0;
  setup.queued = std::max(setup.queued, setup.sent);
  if (setup.queued > setup.sndbuf) return wrong("--queued does not fit --sndbuf");
  if (setup.unread > setup.rcvbuf) return wrong("--unread does not fit --rcvbuf");
  if (d.snd_wnd > (0xffffu << constant.snd_wind_shift)) return wrong("--snd_wnd needs --wscale");
  return {};
}

}  // namespace snp::script
