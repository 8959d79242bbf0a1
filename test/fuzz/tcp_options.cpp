// Any bytes as TCP options; what was understood is written and must be understood again.
#include "snp/wire/tcp_options.h"

#include <array>
#include <cstdint>

#include "snp/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const snp::TcpOptions options = snp::parse_tcp_options(std::as_bytes(std::span(data, size)));
  std::array<std::byte, snp::kMaxTcpOptionBytes> bytes{};
  const std::size_t written = snp::write_tcp_options(options, bytes.data());
  SNP_ASSERT(written == snp::tcp_options_bytes(options));
  const snp::TcpOptions again = snp::parse_tcp_options(std::span(bytes).first(written));
  SNP_ASSERT(!again.is_malformed);
  SNP_ASSERT(again.has_timestamps == options.has_timestamps);
  SNP_ASSERT(again.ts_val == options.ts_val && again.ts_ecr == options.ts_ecr);
  SNP_ASSERT(again.sack_count == snp::sack_blocks_that_fit(options));
  for (std::size_t i = 0; i < again.sack_count; ++i)
    SNP_ASSERT(again.sack[i] == options.sack[i]);
  return 0;
}
