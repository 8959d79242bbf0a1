// What TCP_INFO counts of a connection, in Linux's names and units (linux/tcp.h, tcpi_...): these
// grow only. A kernel socket begins at zero each time it is emptied, a target when it gets the
// connection; who asks is told of the connection's whole life (ipc/arena.h, SlotLife).
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace snp {

template <class Narrow, class Wide>
struct BasicTcpCounters {
  // A FIN counts as a byte received, or acknowledged; so does the SYN of who connects, once
  // acknowledged. bytes_sent: what is sent again, too.
  Wide bytes_acked{0}, bytes_received{0}, bytes_sent{0}, bytes_retrans{0};
  Wide busy_time{0}, rwnd_limited{0}, sndbuf_limited{0};  // microseconds
  Narrow segs_out{0}, segs_in{0}, data_segs_in{0}, data_segs_out{0}, total_retrans{0};
  Narrow delivered{0}, delivered_ce{0}, dsack_dups{0}, reord_seen{0}, rcv_ooopack{0};

  bool operator==(const BasicTcpCounters&) const = default;
};

using TcpCounters = BasicTcpCounters<std::uint32_t, std::uint64_t>;
// One writer at a time, any thread reads; each counter by itself.
using SharedTcpCounters = BasicTcpCounters<std::atomic<std::uint32_t>, std::atomic<std::uint64_t>>;

static_assert(std::is_trivially_copyable_v<TcpCounters>);

// fn(the counter of each of `sets`), for every counter.
template <class Fn, class... Sets>
constexpr void for_each_counter(Fn&& fn, Sets&&... sets) {
  fn(sets.bytes_acked...);
  fn(sets.bytes_received...);
  fn(sets.bytes_sent...);
  fn(sets.bytes_retrans...);
  fn(sets.busy_time...);
  fn(sets.rwnd_limited...);
  fn(sets.sndbuf_limited...);
  fn(sets.segs_out...);
  fn(sets.segs_in...);
  fn(sets.data_segs_in...);
  fn(sets.data_segs_out...);
  fn(sets.total_retrans...);
  fn(sets.delivered...);
  fn(sets.delivered_ce...);
  fn(sets.dsack_dups...);
  fn(sets.reord_seen...);
  fn(sets.rcv_ooopack...);
}

inline void store(SharedTcpCounters& to, const TcpCounters& from) noexcept {
  for_each_counter(
      [](auto& word, const auto& value) { word.store(value, std::memory_order_relaxed); }, to,
      from);
}
[[nodiscard]] inline TcpCounters load(const SharedTcpCounters& from) noexcept {
  TcpCounters to;
  for_each_counter(
      [](auto& value, const auto& word) { value = word.load(std::memory_order_relaxed); }, to,
      from);
  return to;
}

// fn(our counter, the field of a struct tcp_info), for every counter.
template <class Fn, class Counters, class Info>
constexpr void for_each_counter_of(Fn&& fn, Counters& c, Info& info) {
  fn(c.bytes_acked, info.tcpi_bytes_acked);
  fn(c.bytes_received, info.tcpi_bytes_received);
  fn(c.bytes_sent, info.tcpi_bytes_sent);
  fn(c.bytes_retrans, info.tcpi_bytes_retrans);
  fn(c.busy_time, info.tcpi_busy_time);
  fn(c.rwnd_limited, info.tcpi_rwnd_limited);
  fn(c.sndbuf_limited, info.tcpi_sndbuf_limited);
  fn(c.segs_out, info.tcpi_segs_out);
  fn(c.segs_in, info.tcpi_segs_in);
  fn(c.data_segs_in, info.tcpi_data_segs_in);
  fn(c.data_segs_out, info.tcpi_data_segs_out);
  fn(c.total_retrans, info.tcpi_total_retrans);
  fn(c.delivered, info.tcpi_delivered);
  fn(c.delivered_ce, info.tcpi_delivered_ce);
  fn(c.dsack_dups, info.tcpi_dsack_dups);
  fn(c.reord_seen, info.tcpi_reord_seen);
  fn(c.rcv_ooopack, info.tcpi_rcv_ooopack);
}

template <class Info>
[[nodiscard]] TcpCounters counters_in(const Info& info) noexcept {
  TcpCounters counters;
  for_each_counter_of([](auto& to, const auto& from) { to = from; }, counters, info);
  return counters;
}
template <class Info>
void put_counters(const TcpCounters& counters, Info& info) noexcept {
  for_each_counter_of([](const auto& from, auto& to) { to = from; }, counters, info);
}

// `life` and what `now` has counted beyond `start`. Below `start` nothing is added: what is counted
// up to there has been told already. Modulo the counter's width, as the kernel counts.
[[nodiscard]] inline TcpCounters grown(const TcpCounters& life, const TcpCounters& start,
                                       const TcpCounters& now) noexcept {
  TcpCounters told = life;
  for_each_counter(
      [](auto& to, const auto& from, const auto& at) {
        const auto more = static_cast<std::remove_cvref_t<decltype(to)>>(at - from);
        if (more >> (8 * sizeof more - 1) == 0) to += more;
      },
      told, start, now);
  return told;
}

}  // namespace snp
