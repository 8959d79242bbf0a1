// DPDK's Toeplitz hash (rte_thash.h) behind a narrow door: its headers want flags of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace snp::test {

class DpdkHash {
 public:
  explicit DpdkHash(std::span<const std::uint8_t> key);  // 40 bytes
  ~DpdkHash();
  DpdkHash(const DpdkHash&) = delete;
  DpdkHash& operator=(const DpdkHash&) = delete;

  // Pre: input.size() is a multiple of 4.
  [[nodiscard]] std::uint32_t softrss(std::span<const std::uint8_t> input) const;
  [[nodiscard]] std::uint32_t softrss_be(std::span<const std::uint8_t> input) const;
  static bool has_gfni();
  // Pre: has_gfni().
  [[nodiscard]] std::uint32_t gfni(std::span<const std::uint8_t> input) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Pre: DpdkHash::has_gfni().
std::uint32_t dpdk_gfni(const std::uint64_t* matrices, std::span<const std::uint8_t> input);

}  // namespace snp::test
