// Where the running executable stands: what belongs to it is looked for from there, so that a build
// folder and an installed tree both work. Any thread.
#pragma once

#include <array>
#include <string>

#include <unistd.h>

namespace snp {

// Without a final slash; "." when the system does not say.
inline std::string own_folder() {
  std::array<char, 4096> path{};
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string whole(path.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::size_t slash = whole.rfind('/');
  return slash == std::string::npos ? "." : whole.substr(0, slash);
}

}  // namespace snp
