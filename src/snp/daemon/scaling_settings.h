// What the settings of receive-side scaling mean, for the engine's shards and for the host's CPUs
// alike: one model for both. Control thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/configuration.h"
#include "snp/rss/processors.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

// From the kernel's random numbers; once for all engines of a keeper, so that a restarted engine
// sends packets where the one before did.
Result<rss::HashKey> make_secret_key();

bool is_scaling_on(const settings::Settings& settings);
rss::Profile profile_of(const settings::Settings& settings);
// Whether the balancer may move buckets by itself.
bool may_balance(const settings::Settings& settings);
rss::HashTypes hash_types_of(const settings::Settings& settings);
std::uint32_t table_size_of(const settings::Settings& settings);
// `secret`: unless a setting says another.
rss::HashKey hash_key_of(const settings::Settings& settings, const rss::HashKey& secret);
rss::ProcessorKeywords keywords_of(const settings::Settings& settings);

// What rss_backend says for a device: "automatic", or the name of a backend.
std::string backend_for(const settings::Settings& settings, const std::string& device);
// Somebody has said how packets are to be spread.
bool is_shaped(const settings::Settings& settings);
bool is_avoided(const settings::Settings& settings, rss::CpuId cpu);

// Enabled, with this table over `cpus`, the first of which gets what has no hash. Pre: `cpus` is
// not empty.
Result<rss::Configuration> make_configuration(const settings::Settings& settings,
                                              const rss::HashKey& secret,
                                              std::span<const rss::CpuId> cpus,
                                              std::span<const rss::CpuId> table);

}  // namespace snp::daemon
