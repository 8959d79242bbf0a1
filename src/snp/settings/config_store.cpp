// Files on disk: changed as a whole or not at all.
#include <array>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snp/base/unique_fd.h"
#include "snp/settings/config_file.h"

namespace snp::settings {
namespace {

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A file that is a symbolic link stays one.
std::string resolve(const std::string& path) {
  std::array<char, PATH_MAX> real{};
  return ::realpath(path.c_str(), real.data()) != nullptr ? std::string(real.data()) : path;
}

Result<UniqueFd> open_folder(const std::string& folder) {
  ::mkdir(folder.c_str(), 0755);  // the last part only: /etc/snp in /etc
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return fail_errno("cannot open the folder " + folder);
  return fd;
}

Result<> write_whole(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("cannot write " + path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd) != 0) return fail_errno("cannot write " + path);
  return {};
}

// Pre: the folder is locked, so that nobody else uses the temporary name.
Result<> replace_in(int folder, const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd.is_open()) return fail_errno("cannot create " + temporary);
  struct stat old {};
  if (::stat(path.c_str(), &old) == 0) {
    ::fchmod(fd.get(), old.st_mode & 07777);
    [[maybe_unused]] const int kept = ::fchown(fd.get(), old.st_uid, old.st_gid);
  }
  auto done = write_whole(fd.get(), text, temporary);
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0)
    done = fail_errno("cannot replace " + path);
  if (!done) {
    ::unlink(temporary.c_str());
    return done;
  }
  ::fsync(folder);
  return {};
}

Result<UniqueFd> lock_folder(const std::string& folder) {
  auto fd = open_folder(folder);
  // Held for the few milliseconds of a replacement; another snpd may share the file.
  if (fd && ::flock(fd->get(), LOCK_EX) != 0) return fail_errno("cannot lock " + folder);
  return fd;
}

}  // namespace

Result<> replace_file(const std::string& path, std::string_view text) {
  const std::string real = resolve(path);
  const auto folder = lock_folder(folder_of(real));
  if (!folder) return tl::unexpected(folder.error());
  return replace_in(folder->get(), real, text);
}

Result<> store_changes(const std::string& path, const Settings& before, const Settings& after) {
  const std::string real = resolve(path);
  const auto folder = lock_folder(folder_of(real));
  if (!folder) return tl::unexpected(folder.error());
  std::ostringstream old;
  if (std::ifstream file(real); file)
    old << file.rdbuf();
  else if (errno != ENOENT)
    return fail_errno("cannot read " + path);
  const auto edited = edit_config(old.str(), path, before, after);
  if (!edited) return tl::unexpected(edited.error());
  return replace_in(folder->get(), real, *edited);
}

}  // namespace snp::settings
