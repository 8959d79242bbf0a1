#include "snp/rss/backends/journal.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snp/base/unique_fd.h"
#include "snp/settings/config_file.h"

namespace snp::rss {
namespace {

constexpr const char* kFolder = "/run/snp";

bool parse_line(const std::string& text, JournalLine& line) {
  std::istringstream words(text);
  std::string ifindex;
  if (!(words >> line.kind >> line.device >> ifindex)) return false;
  const auto [end, error] =
      std::from_chars(ifindex.data(), ifindex.data() + ifindex.size(), line.ifindex);
  if (error != std::errc{} || end != ifindex.data() + ifindex.size() || line.ifindex == 0)
    return false;
  for (std::string word; words >> word;)
    line.words.push_back(word);
  return !line.words.empty();
}

std::string to_text(const JournalLine& line) {
  std::string text = line.kind + " " + line.device + " " + std::to_string(line.ifindex);
  for (const std::string& word : line.words)
    text += " " + word;
  return text + "\n";
}

bool is_same_thing(const JournalLine& a, const JournalLine& b) {
  // A card has one line, the others one for each queue or kind of flow.
  return a.kind == b.kind && a.ifindex == b.ifindex &&
         (a.kind == "card" || a.words.front() == b.words.front());
}

}  // namespace

std::string Journal::default_path() {
  // The cookie is never given out twice, the inode may be.
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) {
    struct stat space {};
    if (::stat("/proc/thread-self/ns/net", &space) == 0) cookie = space.st_ino;
  }
  return std::string(kFolder) + "/rss." + std::to_string(cookie);
}

Journal::Journal(std::string path) : path_(std::move(path)) {
  std::ifstream file(path_);
  for (std::string text; std::getline(file, text);)
    if (JournalLine line; parse_line(text, line)) lines_.push_back(std::move(line));
}

std::vector<JournalLine> Journal::of(const std::string& kind, std::uint32_t ifindex) const {
  std::vector<JournalLine> found;
  std::ranges::copy_if(lines_, std::back_inserter(found), [&](const JournalLine& line) {
    return line.kind == kind && line.ifindex == ifindex;
  });
  return found;
}

Result<> Journal::add(std::vector<JournalLine> lines) {
  std::vector<JournalLine> next = lines_;
  for (JournalLine& line : lines) {
    const bool is_known = std::ranges::any_of(
        next, [&](const JournalLine& known) { return is_same_thing(known, line); });
    if (!is_known) next.push_back(std::move(line));
  }
  return next == lines_ ? Result<>() : write(std::move(next));
}

Result<> Journal::remove(const std::string& kind, std::uint32_t ifindex) {
  std::vector<JournalLine> next;
  std::ranges::copy_if(lines_, std::back_inserter(next), [&](const JournalLine& line) {
    return line.kind != kind || line.ifindex != ifindex;
  });
  return next == lines_ ? Result<>() : write(std::move(next));
}

Result<> Journal::write(std::vector<JournalLine> next) {
  if (next.empty()) {
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
      return fail_errno("cannot remove " + path_);
    lines_.clear();
    return {};
  }
  const std::string folder = path_.substr(0, path_.rfind('/'));
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno("cannot make " + folder);
  // Nobody else's business: the card's key is secret. A replaced file keeps its mode.
  const UniqueFd made(
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!made.is_open()) return fail_errno("cannot make " + path_);
  std::string text;
  for (const JournalLine& line : next)
    text += to_text(line);
  if (auto done = settings::replace_file(path_, text); !done)
    return with_context("what devices were like before cannot be kept", done.error());
  lines_ = std::move(next);
  return {};
}

}  // namespace snp::rss
