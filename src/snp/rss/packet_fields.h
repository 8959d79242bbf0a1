// From a packet to the fields that RSS hashes (reference 5.3). Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "snp/rss/hash_type.h"

namespace snp::rss {

// `packet` begins with its IP header and need not be whole. IPv4 options and IPv6 extension headers
// are skipped; nothing when that cannot be done, or the headers end too early: no hash, the default
// CPU. Of a fragment, the first one too, only the addresses are given.
std::optional<PacketFields> read_fields(std::span<const std::byte> packet) noexcept;

}  // namespace snp::rss
