#include "test/oracle/dpdk_hash.h"

#include <array>
#include <cstring>

#include <arpa/inet.h>
#include <rte_thash.h>

namespace snp::test {

constexpr std::size_t kKeyBytes = 40;
constexpr std::size_t kMostWords = 9;

struct DpdkHash::State {
  std::array<std::uint8_t, kKeyBytes> key;
  std::array<std::uint32_t, kKeyBytes / 4> key_be;
  std::array<std::uint64_t, kKeyBytes> matrices;
};

namespace {

std::array<std::uint32_t, kMostWords> words_of(std::span<const std::uint8_t> input) {
  std::array<std::uint32_t, kMostWords> words{};
  std::memcpy(words.data(), input.data(), input.size());
  for (std::uint32_t& word : words)
    word = ntohl(word);
  return words;
}

}  // namespace

DpdkHash::DpdkHash(std::span<const std::uint8_t> key) : state_(std::make_unique<State>()) {
  std::memcpy(state_->key.data(), key.data(), kKeyBytes);
  std::array<std::uint32_t, kKeyBytes / 4> original;
  std::memcpy(original.data(), key.data(), kKeyBytes);
  rte_convert_rss_key(original.data(), state_->key_be.data(), kKeyBytes);
  rte_thash_complete_matrix(state_->matrices.data(), state_->key.data(), kKeyBytes);
}

DpdkHash::~DpdkHash() = default;

std::uint32_t DpdkHash::softrss(std::span<const std::uint8_t> input) const {
  auto words = words_of(input);
  return rte_softrss(words.data(), static_cast<std::uint32_t>(input.size() / 4),
                     state_->key.data());
}

std::uint32_t DpdkHash::softrss_be(std::span<const std::uint8_t> input) const {
  auto words = words_of(input);
  return rte_softrss_be(words.data(), static_cast<std::uint32_t>(input.size() / 4),
                        reinterpret_cast<const std::uint8_t*>(state_->key_be.data()));
}

bool DpdkHash::has_gfni() {
  return __builtin_cpu_supports("gfni") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
         __builtin_cpu_supports("avx512vbmi") != 0;
}

std::uint32_t DpdkHash::gfni(std::span<const std::uint8_t> input) const {
  return dpdk_gfni(state_->matrices.data(), input);
}

}  // namespace snp::test
