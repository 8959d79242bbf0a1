// The card's own table: it names queues, and a queue's interrupt has a CPU. Control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "snp/rss/backends/backend.h"
#include "snp/rss/backends/ethtool.h"
#include "snp/rss/backends/journal.h"

namespace snp::rss {

// The CPU of each receive queue, as far as it is known.
using QueueCpus = std::vector<std::optional<CpuId>>;

// The queue that stands for each CPU of `table`: one whose interrupt comes there, or, when none is
// known, queues in turn. A table longer than the card's is cut, a shorter one repeated.
std::vector<std::uint32_t> queues_for(const std::vector<CpuId>& table, std::size_t entries,
                                      std::uint32_t queues, const QueueCpus& cpus);

// `queue_cpus` is asked at each apply(). `journal` outlives it.
std::unique_ptr<Backend> make_card(std::string device, std::uint32_t ifindex, EthtoolCall card,
                                   std::function<QueueCpus(std::uint32_t queues)> queue_cpus,
                                   Journal& journal);

// Puts back what the journal has for this device, and forgets it.
Result<> restore_card(const std::string& device, std::uint32_t ifindex, const EthtoolCall& card,
                      Journal& journal);

}  // namespace snp::rss
