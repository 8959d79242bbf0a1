#include "snp/tcp/cc/congestion_control.h"

#include "snp/tcp/cc/algorithms.h"

namespace snp::tcp {
namespace {

constexpr std::array<const CongestionAlgorithm*, 4> kAlgorithms{&kCubic, &kNewReno, &kDctcp, &kBbr};

}  // namespace

std::span<const CongestionAlgorithm* const> congestion_algorithms() noexcept {
  return kAlgorithms;
}

const CongestionAlgorithm* find_congestion_algorithm(std::string_view name) noexcept {
  if (name == "reno") return &kNewReno;  // Linux's name of it
  for (const CongestionAlgorithm* algorithm : kAlgorithms)
    if (algorithm->name == name) return algorithm;
  return nullptr;
}

const CongestionAlgorithm& congestion_algorithm_or_default(std::string_view name) noexcept {
  const CongestionAlgorithm* found = find_congestion_algorithm(name);
  return found != nullptr ? *found : kCubic;
}

}  // namespace snp::tcp
