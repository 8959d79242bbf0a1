// What a card says and does about receive-side scaling, through the ethtool system call, which each
// kernel has (netlink can set a table since Linux 6.17 only). Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "snp/base/result.h"

namespace snp::rss {

// The call itself: fills the ethtool structure, gives 0 or -errno. Tests have a card of their own.
using EthtoolCall = std::function<int(void* request)>;
EthtoolCall ethtool_of(const std::string& device);  // in the network namespace of the process

inline constexpr std::uint8_t kCardToeplitz = 1;  // ETH_RSS_HASH_TOP, which has no public name

struct CardTable {
  std::vector<std::uint32_t> queues;  // of each bucket; empty: the card has no table
  std::vector<std::uint8_t> key;      // empty: it shows none
  std::uint8_t function = 0;          // ETH_RSS_HASH_*; 0: it does not say
};

std::uint32_t receive_queues_of(const EthtoolCall& card);  // 0: it does not say
// kUnsupported: it has no such table.
Result<CardTable> read_card_table(const EthtoolCall& card);
// What is empty or 0 stays as it is. All or nothing, as drivers do it.
Result<> write_card_table(const EthtoolCall& card, const CardTable& table);
// The driver's own table again, as if nobody had set one (`ethtool -X DEV default`).
Result<> reset_card_table(const EthtoolCall& card);

// Which fields are hashed of a kind of flow (TCP_V4_FLOW, ...): bits RXH_*.
std::optional<std::uint64_t> read_card_fields(const EthtoolCall& card, std::uint32_t flow);
Result<> write_card_fields(const EthtoolCall& card, std::uint32_t flow, std::uint64_t fields);

// Packets of each receive queue so far, from the statistics that the driver names itself; empty:
// it names none that we know.
std::vector<std::uint64_t> queue_packets_of(const EthtoolCall& card, std::uint32_t queues);
// "rx_queue_3_packets" and how other drivers write it: 3. Nothing: another statistic.
std::optional<std::uint32_t> queue_in_statistic(const std::string& name);

std::string driver_of(const EthtoolCall& card);  // "veth"; empty: it does not say

}  // namespace snp::rss
