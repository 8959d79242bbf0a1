// Apart from the rest: compiled for CPUs that have these instructions.
#include <rte_thash.h>

#include "test/oracle/dpdk_hash.h"

namespace snp::test {

std::uint32_t dpdk_gfni(const std::uint64_t* matrices, std::span<const std::uint8_t> input) {
  return rte_thash_gfni(matrices, const_cast<std::uint8_t*>(input.data()),
                        static_cast<int>(input.size()));
}

}  // namespace snp::test
