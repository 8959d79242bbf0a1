// For one input word w and the 64 key bits K that begin where w does, the hash is the exclusive or
// of (K << k) >> 32 over the bits k of w, counted from the most significant one: bits 32 to 63 of
// the carry-less product of K and w mirrored. Products of mirrored factors are mirrored, so we
// mirror K beforehand and only the 32 bits of the sum at the end.
#include <cstring>

#include "snp/base/assert.h"
#include "snp/rss/toeplitz.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace snp::rss {
namespace {

std::uint64_t mirror(std::uint64_t value) noexcept {
  std::uint64_t mirrored = 0;
  for (int bit = 0; bit < 64; ++bit, value >>= 1)
    mirrored = mirrored << 1 | (value & 1);
  return mirrored;
}

#if defined(__x86_64__)
std::uint32_t mirror32(std::uint32_t value) noexcept {
  value = (value >> 1 & 0x55555555) | (value & 0x55555555) << 1;
  value = (value >> 2 & 0x33333333) | (value & 0x33333333) << 2;
  value = (value >> 4 & 0x0f0f0f0f) | (value & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(value);
}

// Most significant byte first; what is missing at the end counts as zero.
std::uint32_t word_at(std::span<const std::uint8_t> input, std::size_t offset) noexcept {
  std::uint32_t word = 0;
  if (offset + 4 <= input.size()) [[likely]] {
    std::memcpy(&word, input.data() + offset, 4);
    return __builtin_bswap32(word);
  }
  for (std::size_t i = 0; i < 4; ++i)
    word = word << 8 | (offset + i < input.size() ? input[offset + i] : 0u);
  return word;
}
#endif

}  // namespace

ToeplitzCarryless::ToeplitzCarryless(const HashKey& key) noexcept {
  for (std::size_t word = 0; word < kMaxInputWords; ++word) {
    std::uint64_t window = 0;
    for (std::size_t i = 0; i < 8; ++i)
      window = window << 8 | key[word * 4 + i];  // the last ends with the key's last byte
    windows_[word] = mirror(window);
  }
}

#if defined(__x86_64__)
bool ToeplitzCarryless::has_carryless() noexcept {
  return __builtin_cpu_supports("pclmul") != 0;
}

__attribute__((target("pclmul,sse4.1"))) std::uint32_t ToeplitzCarryless::hash(
    std::span<const std::uint8_t> input) const noexcept {
  SNP_ASSERT(input.size() <= kMaxInputBytes);
  __m128i sum = _mm_setzero_si128();
  for (std::size_t offset = 0; offset < input.size(); offset += 4) {
    const __m128i word = _mm_cvtsi32_si128(static_cast<int>(word_at(input, offset)));
    const __m128i window = _mm_cvtsi64_si128(static_cast<long long>(windows_[offset / 4]));
    sum = _mm_xor_si128(sum, _mm_clmulepi64_si128(window, word, 0));
  }
  // The product has bits 0 to 94; 32 to 63 of it, mirrored, are 31 to 62.
  const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
  return mirror32(static_cast<std::uint32_t>(low >> 31));
}
#else
bool ToeplitzCarryless::has_carryless() noexcept {
  return false;
}

std::uint32_t ToeplitzCarryless::hash(std::span<const std::uint8_t> /*input*/) const noexcept {
  SNP_ASSERT(false && "this CPU has no carry-less multiplication");
  return 0;
}
#endif

Toeplitz::Toeplitz(const HashKey& key) {
  if (ToeplitzCarryless::has_carryless())
    carryless_.emplace(key);
  else
    table_.emplace(key);
}

}  // namespace snp::rss
