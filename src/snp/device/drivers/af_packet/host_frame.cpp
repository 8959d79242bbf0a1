#include "snp/device/drivers/af_packet/host_frame.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "snp/wire/checksum.h"
#include "snp/wire/frame.h"
#include "snp/wire/headers.h"

namespace snp::device {

bool make_host_frame(const RxFrame& frame, HostFrame& out) noexcept {
  ParsedFrame parsed;
  if (parse_frame(frame.bytes, frame.gso_size, parsed) != FrameVerdict::kTcp) return false;
  out.vnet = {};
  out.header_bytes = 0;
  // The host verifies what nobody has verified.
  if (frame.checksum == Checksum::kUnknown) return frame.gso_size == 0;

  const std::size_t header_bytes = parsed.l4_offset + sizeof(wire::TcpHeader);
  if (header_bytes > out.headers.size()) return false;
  std::memcpy(out.headers.data(), frame.bytes.data(), header_bytes);
  out.header_bytes = header_bytes;
  const std::uint16_t sum = fold(pseudo_header_sum(
      parsed.tuple.remote.address, parsed.tuple.local.address, parsed.length - parsed.l4_offset));
  constexpr std::size_t kChecksum = offsetof(wire::TcpHeader, checksum);
  std::memcpy(out.headers.data() + parsed.l4_offset + kChecksum, &sum, sizeof(sum));

  out.vnet.flags = VnetHeader::kNeedsChecksum;
  out.vnet.csum_start = parsed.l4_offset;
  out.vnet.csum_offset = kChecksum;
  out.vnet.hdr_len = static_cast<std::uint16_t>(parsed.length - parsed.segment.payload.size());
  if (frame.gso_size != 0) {
    out.vnet.gso_type = parsed.is_v6 ? VnetHeader::kGsoTcpV6 : VnetHeader::kGsoTcpV4;
    out.vnet.gso_size = frame.gso_size;
  }
  return true;
}

}  // namespace snp::device
