#include "snp/daemon/scaling_settings.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include <sys/random.h>

namespace snp::daemon {
namespace {

using settings::Setting;

rss::HashTypes types_of(const std::string& choice, rss::HashTypes ip, rss::HashTypes tcp,
                        rss::HashTypes udp) {
  const auto has = [&](std::string_view part) { return choice.find(part) != std::string::npos; };
  if (choice == "none") return 0;
  return (has("ip") ? ip : 0) | (has("tcp") ? tcp : 0) | (has("udp") ? udp : 0);
}

}  // namespace

Result<rss::HashKey> make_secret_key() {
  rss::HashKey key{};
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
    return fail_errno("cannot get random numbers for the hash key");
  return key;
}

bool is_scaling_on(const settings::Settings& settings) {
  return settings.text(Setting::kRss) == "enabled" && hash_types_of(settings) != 0;
}

rss::Profile profile_of(const settings::Settings& settings) {
  for (int i = 1; i <= 6; ++i)
    if (const auto profile = static_cast<rss::Profile>(i);
        to_string(profile) == settings.text(Setting::kRssProfile))
      return profile;
  return rss::Profile::kNumaScalingStatic;
}

bool may_balance(const settings::Settings& settings) {
  const std::string& said = settings.text(Setting::kRssBalancing);
  return said == "enabled" || (said == "profile" && is_dynamic(profile_of(settings)));
}

rss::HashTypes hash_types_of(const settings::Settings& settings) {
  return types_of(settings.text(Setting::kRssIpv4), rss::kIpv4, rss::kTcpIpv4, rss::kUdpIpv4) |
         types_of(settings.text(Setting::kRssIpv6), rss::kIpv6, rss::kTcpIpv6, rss::kUdpIpv6);
}

std::uint32_t table_size_of(const settings::Settings& settings) {
  const std::string& text = settings.text(Setting::kRssTableSize);
  std::uint32_t size = 1;
  std::from_chars(text.data(), text.data() + text.size(), size);
  return size;
}

rss::HashKey hash_key_of(const settings::Settings& settings, const rss::HashKey& secret) {
  const auto& said = settings.list(Setting::kRssKey);
  if (said.empty()) return secret;
  if (const auto key = rss::parse_key(said.front())) return *key;
  // Symmetric. One bit at least on either side: a key of equal bits tells little.
  const auto seed = static_cast<std::uint16_t>(secret[0] << 8 | secret[1]);
  return rss::make_symmetric_key(static_cast<std::uint16_t>((seed | 0x4001) & ~0x0180));
}

rss::ProcessorKeywords keywords_of(const settings::Settings& settings) {
  rss::ProcessorKeywords keywords;
  keywords.profile = profile_of(settings);
  keywords.base =
      rss::processor_number(static_cast<rss::CpuId>(settings.number(Setting::kRssBaseCpu)));
  keywords.max_processors = static_cast<std::uint32_t>(settings.number(Setting::kRssMaxCpus));
  return keywords;
}

std::string backend_for(const settings::Settings& settings, const std::string& device) {
  std::string general = "automatic";
  for (const std::string& entry : settings.list(Setting::kRssBackend)) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos)
      general = entry;
    else if (entry.substr(0, equals) == device)
      return entry.substr(equals + 1);
  }
  return general;
}

bool is_shaped(const settings::Settings& settings) {
  constexpr Setting kShape[] = {
      Setting::kRssBaseCpu, Setting::kRssMaxCpus,   Setting::kRssProfile, Setting::kRssBalancing,
      Setting::kRssIpv4,    Setting::kRssIpv6,      Setting::kRssKey,     Setting::kRssTableSize,
      Setting::kRssBackend, Setting::kRssAvoidCpus,
  };
  return std::ranges::any_of(kShape, [&](Setting id) { return !settings.is_default(id); });
}

bool is_avoided(const settings::Settings& settings, rss::CpuId cpu) {
  const auto& avoided = settings.list(Setting::kRssAvoidCpus);
  return std::ranges::find(avoided, std::to_string(cpu)) != avoided.end();
}

Result<rss::Configuration> make_configuration(const settings::Settings& settings,
                                              const rss::HashKey& secret,
                                              std::span<const rss::CpuId> cpus,
                                              std::span<const rss::CpuId> table) {
  rss::Configuration next(cpus.front());
  (void)next.table().set_processors(cpus, static_cast<std::uint32_t>(cpus.size()));
  const rss::HashKey key = hash_key_of(settings, secret);
  rss::Parameters parameters;
  parameters.hash_information = hash_types_of(settings) | rss::kHashFunctionToeplitz;
  parameters.table = table;
  parameters.key = key;
  parameters.default_processor = cpus.front();
  if (auto done = next.apply(parameters); !done) return tl::unexpected(done.error());
  return next;
}

}  // namespace snp::daemon
