#include "snp/netdma/streaming_copy.h"

#include <vector>

#include <gtest/gtest.h>

namespace snp::netdma {
namespace {

// Every alignment of both sides and every rest of a line; nothing around it is touched.
TEST(StreamingCopy, CopiesExactlyWhatItIsTold) {
  constexpr std::size_t kMargin = 64;
  std::vector<std::byte> source(1024), destination(1024 + 2 * kMargin);
  for (std::size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<std::byte>(i * 7 + 1);
  for (std::size_t from = 0; from < 64; from += 13) {
    for (std::size_t to = 0; to < 64; to += 7) {
      for (std::size_t size = 0; size < 300; size += size < 140 ? 1 : 13) {
        std::fill(destination.begin(), destination.end(), std::byte{0xee});
        copy_streaming(destination.data() + kMargin + to, source.data() + from, size);
        for (std::size_t i = 0; i < destination.size(); ++i) {
          const bool is_inside = i >= kMargin + to && i < kMargin + to + size;
          ASSERT_EQ(destination[i], is_inside ? source[from + i - kMargin - to] : std::byte{0xee})
              << "from " << from << " to " << to << " size " << size << " at " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace snp::netdma
