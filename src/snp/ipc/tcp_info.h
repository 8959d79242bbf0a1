// getsockopt(TCP_INFO) of a connection that moves between the host and targets: its slot's words
// and the kernel's answer together. Any thread; inside the gate, so that they belong together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "snp/ipc/arena.h"

namespace snp::ipc {

// Where the streams of an offloaded connection stand, in positions.
struct StreamsNow {
  std::uint64_t received = 0;  // after the last byte that has arrived in order
  std::uint64_t acked = 0;     // of the oldest byte that is not acknowledged
  std::uint64_t sent = 0;      // after the last byte ever sent
  bool has_peers_fin = false, is_fin_acknowledged = false;
};
// Of one that the engine carries.
[[nodiscard]] StreamsNow streams_of(const Slot& slot) noexcept;

// What a connection that is with a target has counted, over its whole life.
[[nodiscard]] TcpCounters told_at_target(const SlotLife& life, const StreamsNow& now) noexcept;

// `value`: the kernel's answer (linux/tcp.h, struct tcp_info), cut at `length`.
// In the host: what was counted earlier is added. Pre: life.in_use is this use of the slot.
void add_earlier_life(const SlotLife& life, void* value, std::size_t length) noexcept;
// With a target: the counters.
void put_counters(const TcpCounters& counters, void* value, std::size_t length) noexcept;
// With the engine: what it knows replaces what the parked socket cannot know; what nobody tells
// stays as it is. `now_ms`: to_ms_ticks() of the moment. The words are advisory.
void overlay_tcp_info(const SlotInfo& from, std::uint32_t now_ms, void* value,
                      std::size_t length) noexcept;

}  // namespace snp::ipc
