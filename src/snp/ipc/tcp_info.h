// getsockopt(TCP_INFO) of an offloaded connection.
#pragma once

#include <cstddef>
#include <cstdint>

#include "snp/ipc/arena.h"

namespace snp::ipc {

// `value`: the kernel's answer for the parked socket (linux/tcp.h, struct tcp_info), cut at
// `length`. What the engine knows replaces what the parked socket cannot know; what nobody counts
// stays as it is. `now_ms`: to_ms_ticks() of the moment. Thread-safe; the words are advisory.
void overlay_tcp_info(const SlotInfo& from, std::uint32_t now_ms, void* value,
                      std::size_t length) noexcept;

}  // namespace snp::ipc
