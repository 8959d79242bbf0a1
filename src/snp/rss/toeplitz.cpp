#include "snp/rss/toeplitz.h"

#include "snp/base/assert.h"

namespace snp::rss {
namespace {

// The 32 key bits that begin at `bit`.
std::uint32_t key_window(const HashKey& key, std::size_t bit) noexcept {
  std::uint64_t five_bytes = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    const std::size_t index = bit / 8 + i;
    five_bytes = five_bytes << 8 | (index < key.size() ? key[index] : 0u);
  }
  return static_cast<std::uint32_t>(five_bytes >> (8 - bit % 8));
}

}  // namespace

HashKey make_symmetric_key(std::uint16_t seed) noexcept {
  HashKey key{};
  for (std::size_t i = 0; i < key.size(); i += 2) {
    key[i] = static_cast<std::uint8_t>(seed >> 8);
    key[i + 1] = static_cast<std::uint8_t>(seed & 0xff);
  }
  return key;
}

namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<HashKey> parse_key(std::string_view text) noexcept {
  HashKey key{};
  std::size_t digits = 0;
  for (const char c : text) {
    if ((c == ':' || c == ' ') && digits % 2 == 0) continue;
    const int digit = hex_digit(c);
    if (digit < 0 || digits == 2 * kKeyBytes) return std::nullopt;
    key[digits / 2] = static_cast<std::uint8_t>(key[digits / 2] << 4 | digit);
    ++digits;
  }
  if (digits != 2 * kKeyBytes) return std::nullopt;
  return key;
}

std::string to_text(const HashKey& key) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : key) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::uint32_t toeplitz(const HashKey& key, std::span<const std::uint8_t> input) noexcept {
  SNP_ASSERT(input.size() <= kMaxInputBytes);
  std::uint32_t result = 0;
  for (std::size_t bit = 0; bit < input.size() * 8; ++bit)
    if ((input[bit / 8] & (0x80u >> (bit % 8))) != 0) result ^= key_window(key, bit);
  return result;
}

ToeplitzTable::ToeplitzTable(const HashKey& key) {
  auto table = std::make_unique<Table>();
  for (std::size_t position = 0; position < kMaxInputBytes; ++position)
    for (std::size_t value = 0; value < 256; ++value)
      for (std::size_t bit = 0; bit < 8; ++bit)
        if ((value & (0x80u >> bit)) != 0)
          (*table)[position][value] ^= key_window(key, position * 8 + bit);
  table_ = std::move(table);
}

}  // namespace snp::rss
