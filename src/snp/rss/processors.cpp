#include "snp/rss/processors.h"

#include <algorithm>
#include <tuple>

namespace snp::rss {
namespace {

std::string name_of(ProcessorNumber cpu) {
  return std::to_string(cpu.group) + ":" + std::to_string(cpu.number);
}

// Hyper-threads of one core share what a packet needs: the first of each counts (reference 5.1).
std::vector<Processor> first_threads(std::vector<Processor> processors) {
  std::ranges::sort(processors, {}, &Processor::cpu);
  std::vector<Processor> first;
  for (const Processor& processor : processors)
    if (std::ranges::find(first, processor.core, &Processor::core) == first.end())
      first.push_back(processor);
  return first;
}

void sort_by_distance(std::vector<Processor>& processors, std::uint32_t wanted_node) {
  std::ranges::sort(processors, [&](const Processor& a, const Processor& b) {
    const auto key = [&](const Processor& p) {
      return std::tuple(wanted_node != kAnyNode && p.node != wanted_node, p.distance, p.cpu);
    };
    return key(a) < key(b);
  });
}

// One CPU of each node in turn. Pre: in the order of CPUs.
void round_robin_over_nodes(std::vector<Processor>& processors) {
  std::vector<std::tuple<std::ptrdiff_t, std::uint32_t, Processor>> ordered;
  for (auto processor = processors.begin(); processor != processors.end(); ++processor) {
    const auto before =
        std::ranges::count(processors.begin(), processor, processor->node, &Processor::node);
    ordered.emplace_back(before, processor->node, *processor);
  }
  std::ranges::sort(ordered, {}, [](const auto& entry) {
    return std::pair(std::get<0>(entry), std::get<1>(entry));
  });
  std::ranges::transform(ordered, processors.begin(),
                         [](const auto& entry) { return std::get<2>(entry); });
}

}  // namespace

std::string_view to_string(Profile profile) noexcept {
  switch (profile) {
    case Profile::kClosest:
      return "closest";
    case Profile::kClosestStatic:
      return "closest-static";
    case Profile::kNumaScaling:
      return "numa";
    case Profile::kNumaScalingStatic:
      return "numa-static";
    case Profile::kConservative:
      return "conservative";
    case Profile::kBalanced:
      return "balanced";
  }
  return "?";
}

Result<std::vector<CpuId>> choose_processors(const ProcessorKeywords& keywords,
                                             std::span<const Processor> processors) {
  // Balanced excludes the keywords of range and node (reference 5.6).
  const bool has_range = keywords.profile != Profile::kBalanced;
  if (has_range && keywords.max < keywords.base)
    return fail(Errc::kInvalid, "INVALID_PARAMETER: the last RSS CPU " + name_of(keywords.max) +
                                    " is below the first " + name_of(keywords.base));
  if (keywords.max_processors == 0)
    return fail(Errc::kInvalid, "INVALID_PARAMETER: RSS needs one CPU at least");
  std::vector<Processor> usable;
  for (const Processor& processor : first_threads({processors.begin(), processors.end()}))
    if (!has_range || is_in_range(keywords, processor_number(processor.cpu)))
      usable.push_back(processor);
  if (usable.empty())
    return fail(Errc::kNotFound, "INVALID_DATA: no CPU of this machine is in the RSS range from " +
                                     name_of(keywords.base) + " on");
  const bool is_numa =
      keywords.profile == Profile::kNumaScaling || keywords.profile == Profile::kNumaScalingStatic;
  if (is_numa)
    round_robin_over_nodes(usable);  // the node keyword is ignored with these profiles
  else
    sort_by_distance(usable, has_range ? keywords.node : kAnyNode);
  if (usable.size() > keywords.max_processors) usable.resize(keywords.max_processors);
  std::vector<CpuId> cpus;
  cpus.reserve(usable.size());
  for (const Processor& processor : usable)
    cpus.push_back(processor.cpu);
  return cpus;
}

std::vector<CpuId> spread(std::span<const CpuId> cpus, std::uint32_t entries) {
  std::vector<CpuId> table(entries);
  for (std::uint32_t i = 0; i < entries; ++i)
    table[i] = cpus[i % cpus.size()];
  return table;
}

}  // namespace snp::rss
