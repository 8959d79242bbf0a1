// What devices were like before RSS changed them: a file in /run, written before each change, so
// that whoever comes after a kill can put it back. One snpd of a network namespace writes it at a
// time. Lines of words; what cannot be read as one is left out, a file is never trusted.
//
//   rps DEV IFINDEX QUEUE MASK           rps_cpus of a receive queue
//   card DEV IFINDEX FUNCTION KEY TABLE  of the card; KEY hex or -, TABLE commas, - or default
//   fields DEV IFINDEX FLOW BITS         what the card hashes of a kind of flow (ethtool -n)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snp/base/result.h"

namespace snp::rss {

struct JournalLine {
  std::string kind;  // "rps", ...
  std::string device;
  std::uint32_t ifindex = 0;
  std::vector<std::string> words;  // the rest
  friend bool operator==(const JournalLine&, const JournalLine&) = default;
};

class Journal {
 public:
  // Of this network namespace: /run/snp/rss.COOKIE.
  static std::string default_path();
  // Reads what is there; no file: nothing.
  explicit Journal(std::string path);

  [[nodiscard]] const std::vector<JournalLine>& lines() const noexcept { return lines_; }
  // The lines of a kind for a device; empty: not changed by us.
  [[nodiscard]] std::vector<JournalLine> of(const std::string& kind, std::uint32_t ifindex) const;

  // On disk when it returns. What is there already for this kind, device and first word stays: the
  // first value is what was before us.
  Result<> add(std::vector<JournalLine> lines);
  // It has been put back. The last line takes the file with it.
  Result<> remove(const std::string& kind, std::uint32_t ifindex);

 private:
  Result<> write(std::vector<JournalLine> next);

  std::string path_;
  std::vector<JournalLine> lines_;
};

}  // namespace snp::rss
