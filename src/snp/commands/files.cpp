#include "snp/commands/files.h"

#include <array>
#include <fstream>

namespace snp::commands {

Result<std::string> read_file(const std::string& path) {
  constexpr std::size_t kMost = 1 << 26;
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno("cannot read " + path);
  std::string text;
  std::array<char, 65536> part{};
  while (file.read(part.data(), part.size()) || file.gcount() > 0) {
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > kMost) return fail(Errc::kInvalid, path + ": too long");
  }
  if (file.bad()) return fail_errno("cannot read " + path);
  return text;
}

}  // namespace snp::commands
