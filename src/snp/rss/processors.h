// Which CPUs RSS uses: the adapter's keywords and profiles (reference 5.6). Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/indirection_table.h"

namespace snp::rss {

// A CPU as the original numbers it: groups of 64.
struct ProcessorNumber {
  std::uint32_t group = 0, number = 0;
  friend auto operator<=>(const ProcessorNumber&, const ProcessorNumber&) = default;
};
inline constexpr std::uint32_t kGroupSize = 64;
constexpr ProcessorNumber processor_number(CpuId cpu) noexcept {
  return {cpu / kGroupSize, cpu % kGroupSize};
}

enum class Profile : std::uint8_t {  // the original's numbers
  kClosest = 1,
  kClosestStatic = 2,
  kNumaScaling = 3,
  kNumaScalingStatic = 4,
  kConservative = 5,
  kBalanced = 6,
};

std::string_view to_string(Profile profile) noexcept;
// Static profiles keep the table as it is: no balancing at run time.
constexpr bool is_dynamic(Profile profile) noexcept {
  return profile != Profile::kClosestStatic && profile != Profile::kNumaScalingStatic;
}
// As few CPUs as sustain the load: the set begins with one and grows.
constexpr bool grows_with_load(Profile profile) noexcept {
  return profile == Profile::kConservative;
}

inline constexpr std::uint32_t kAnyNode = 65535;

struct ProcessorKeywords {
  Profile profile = Profile::kNumaScalingStatic;
  ProcessorNumber base{0, 0};
  ProcessorNumber max{0xffffffff, 0xffffffff};
  std::uint32_t max_processors = 16;
  std::uint32_t node = kAnyNode;
};

// Base and max, by group first: 1:16 to 3:8 holds 1:31 and 2:63, not 3:9.
constexpr bool is_in_range(const ProcessorKeywords& keywords, ProcessorNumber cpu) noexcept {
  return keywords.base <= cpu && cpu <= keywords.max;
}

// A CPU of this machine that is online.
struct Processor {
  CpuId cpu = 0;
  std::uint32_t node = 0;      // NUMA
  std::uint32_t core = 0;      // CPUs with the same core are its hyper-threads
  std::uint32_t distance = 0;  // from the adapter; lower is better
};

// The RSS set in order of preference: one hyper-thread of a core, inside the range, the profile's
// order, at most max_processors. kInvalid: max below base, or no maximum; kNotFound: no CPU is
// left.
Result<std::vector<CpuId>> choose_processors(const ProcessorKeywords& keywords,
                                             std::span<const Processor> processors);

// A table of `entries` over the CPUs in turn. Pre: neither is empty.
std::vector<CpuId> spread(std::span<const CpuId> cpus, std::uint32_t entries);

}  // namespace snp::rss
