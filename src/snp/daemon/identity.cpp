#include "snp/daemon/identity.h"

#include <array>
#include <climits>
#include <fstream>
#include <sstream>

#include <unistd.h>

namespace snp::daemon {
namespace {

constexpr std::string_view kDeleted = " (deleted)";  // replaced by an upgrade while it runs

std::string read_path(const std::string& folder) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlink((folder + "exe").c_str(), target.data(), target.size());
  std::string path(target.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

std::optional<std::uint32_t> read_uid(const std::string& folder) {
  std::ifstream file(folder + "status");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint32_t real = 0;
    std::uint32_t effective = 0;
    if (words >> name && name == "Uid:" && words >> real >> effective) return effective;
  }
  return std::nullopt;
}

std::string read_cgroup(const std::string& folder) {
  std::ifstream file(folder + "cgroup");
  constexpr std::string_view kUnified = "0::";
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(kUnified)) return line.substr(kUnified.size());
  return {};
}

}  // namespace

Identity read_identity(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/";
  return {read_path(folder), read_uid(folder), read_cgroup(folder)};
}

}  // namespace snp::daemon
