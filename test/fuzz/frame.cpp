// Any bytes as a received frame. The first byte chooses whether the device says it merged segments.
#include "snp/wire/frame.h"

#include <cstdint>

#include "snp/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto frame = std::as_bytes(std::span(data, size)).subspan(1);
  const std::uint16_t gso_size = data[0] % 2 == 0 ? 0 : 1448;
  snp::ParsedFrame parsed;
  if (snp::parse_frame(frame, gso_size, parsed) != snp::FrameVerdict::kTcp) return 0;
  SNP_ASSERT(parsed.length <= frame.size());
  SNP_ASSERT(parsed.l4_offset + 20u <= parsed.length);
  const auto payload = parsed.segment.payload;
  SNP_ASSERT(payload.data() >= frame.data() + parsed.l4_offset + 20);
  SNP_ASSERT(payload.data() + payload.size() == frame.data() + parsed.length);
  SNP_ASSERT(parsed.tuple.local.address.is_v4() != parsed.is_v6);
  SNP_ASSERT(parsed.tuple.remote.address.is_v4() != parsed.is_v6);
  (void)snp::check_tcp(frame, parsed);
  return 0;
}
