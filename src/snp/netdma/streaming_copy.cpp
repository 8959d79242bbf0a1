#include "snp/netdma/streaming_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace snp::netdma {

void copy_streaming(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
#if defined(__x86_64__)
  constexpr std::size_t kLine = 64;
  const std::size_t head = std::min(bytes, -reinterpret_cast<std::uintptr_t>(to) % kLine);
  std::memcpy(to, from, head);
  to += head;
  from += head;
  bytes -= head;
  for (; bytes >= kLine; to += kLine, from += kLine, bytes -= kLine) {
    const auto* source = reinterpret_cast<const __m128i*>(from);
    auto* target = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(source);
    const __m128i b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2);
    const __m128i d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, a);
    _mm_stream_si128(target + 1, b);
    _mm_stream_si128(target + 2, c);
    _mm_stream_si128(target + 3, d);
  }
  // A release store does not order what was stored past the caches (Intel SDM 3, 9.2.2).
  _mm_sfence();
#endif
  std::memcpy(to, from, bytes);
}

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes,
                std::size_t streaming_from) noexcept {
  if (bytes >= streaming_from)
    copy_streaming(to, from, bytes);
  else
    std::memcpy(to, from, bytes);
}

}  // namespace snp::netdma
