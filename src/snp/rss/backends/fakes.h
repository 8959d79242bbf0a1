// For tests: a /sys in a folder, and a card that answers the ethtool call.
#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <linux/ethtool.h>
#include <unistd.h>

#include "snp/rss/backends/ethtool.h"

namespace snp::rss {

// Removed with the object. It shows lo, the one device that each network namespace has.
class FakeSys {
 public:
  static constexpr const char* kDevice = "lo";
  static constexpr std::uint32_t kIfindex = 1;

  FakeSys() {
    char name[] = "/tmp/snp-sys-XXXXXX";
    root_ = ::mkdtemp(name);
    put("class/net/lo/ifindex", "1");
    put("class/net/lo/address", "00:00:00:00:00:00");
  }
  FakeSys(const FakeSys&) = delete;
  FakeSys& operator=(const FakeSys&) = delete;
  ~FakeSys() { std::filesystem::remove_all(root_); }

  void put(const std::string& path, const std::string& text) const {
    const std::filesystem::path whole = std::filesystem::path(root_) / path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text << '\n';
  }
  [[nodiscard]] std::string get(const std::string& path) const {
    std::ifstream file(root_ + "/" + path);
    std::string line;
    std::getline(file, line);
    return line;
  }
  void remove(const std::string& path) const { std::filesystem::remove_all(root_ + "/" + path); }
  [[nodiscard]] const std::string& root() const { return root_; }
  [[nodiscard]] std::string journal() const { return root_ + "/journal"; }

 private:
  std::string root_;
};

// Refuses what a driver refuses; `error` for every call when it is set.
class FakeCard {
 public:
  std::uint32_t queues = 4;
  std::vector<std::uint32_t> table = {0, 1, 2, 3, 0, 1, 2, 3};
  std::vector<std::uint8_t> key = std::vector<std::uint8_t>(40, 7);
  std::uint8_t function = kCardToeplitz;
  std::map<std::uint32_t, std::uint64_t> fields;
  std::vector<std::pair<std::string, std::uint64_t>> statistics;
  bool takes_keys = true;
  bool was_reset = false;
  int error = 0;
  int writes = 0;

  EthtoolCall call() {
    return [this](void* request) { return -answer(request); };
  }

 private:
  int answer(void* request) {
    if (error != 0) return error;
    std::uint32_t command = 0;
    std::memcpy(&command, request, sizeof command);
    switch (command) {
      case ETHTOOL_GRXRINGS:
        static_cast<ethtool_rxnfc*>(request)->data = queues;
        return 0;
      case ETHTOOL_GRSSH:
        return give_table(*static_cast<ethtool_rxfh*>(request));
      case ETHTOOL_SRSSH:
        return take_table(*static_cast<ethtool_rxfh*>(request));
      case ETHTOOL_GRXFH:
      case ETHTOOL_SRXFH:
        return do_fields(*static_cast<ethtool_rxnfc*>(request), command == ETHTOOL_SRXFH);
      default:
        return do_statistics(command, request);
    }
  }

  int give_table(ethtool_rxfh& request) const {
    if (table.empty()) return EOPNOTSUPP;
    auto* array = reinterpret_cast<std::byte*>(&request + 1);
    const bool is_sized = request.indir_size == table.size() && request.key_size == key.size();
    request.indir_size = static_cast<std::uint32_t>(table.size());
    request.key_size = static_cast<std::uint32_t>(key.size());
    request.hfunc = function;
    if (!is_sized) return 0;
    std::memcpy(array, table.data(), table.size() * 4);
    std::memcpy(array + table.size() * 4, key.data(), key.size());
    return 0;
  }

  int take_table(const ethtool_rxfh& request) {
    const bool keeps_table = request.indir_size == ETH_RXFH_INDIR_NO_CHANGE;
    const std::size_t entries = keeps_table ? 0 : request.indir_size;
    if (entries != 0 && entries != table.size()) return EINVAL;
    if (request.key_size != 0 && request.key_size != key.size()) return EINVAL;
    if (keeps_table && request.key_size == 0 && request.hfunc == 0) return EINVAL;
    if (request.key_size != 0 && !takes_keys) return EOPNOTSUPP;
    const auto* array = reinterpret_cast<const std::byte*>(&request + 1);
    std::vector<std::uint32_t> next(entries);
    if (entries != 0) std::memcpy(next.data(), array, entries * 4);
    for (const std::uint32_t queue : next)
      if (queue >= queues) return EINVAL;
    ++writes;
    if (entries != 0) table = next;
    if (!keeps_table && entries == 0) {
      was_reset = true;
      for (std::size_t i = 0; i < table.size(); ++i)
        table[i] = static_cast<std::uint32_t>(i) % queues;
    }
    if (request.key_size != 0) std::memcpy(key.data(), array + entries * 4, key.size());
    if (request.hfunc != 0) function = request.hfunc;
    return 0;
  }

  int do_fields(ethtool_rxnfc& request, bool is_set) {
    const auto found = fields.find(request.flow_type);
    if (found == fields.end()) return EOPNOTSUPP;
    if (is_set)
      found->second = request.data;
    else
      request.data = found->second;
    return 0;
  }

  int do_statistics(std::uint32_t command, void* request) const {
    if (command == ETHTOOL_GDRVINFO) {
      auto& info = *static_cast<ethtool_drvinfo*>(request);
      std::strcpy(info.driver, "fake");
      info.n_stats = static_cast<std::uint32_t>(statistics.size());
      return 0;
    }
    if (command == ETHTOOL_GSTRINGS) {
      auto& names = *static_cast<ethtool_gstrings*>(request);
      names.len = static_cast<std::uint32_t>(statistics.size());
      auto* text = reinterpret_cast<char*>(&names + 1);
      for (const auto& [name, value] : statistics) {
        name.copy(text, ETH_GSTRING_LEN - 1);
        text += ETH_GSTRING_LEN;
      }
      return 0;
    }
    if (command == ETHTOOL_GSTATS) {
      auto& values = *static_cast<ethtool_stats*>(request);
      values.n_stats = static_cast<std::uint32_t>(statistics.size());
      auto* value = reinterpret_cast<std::byte*>(&values + 1);
      for (const auto& [name, number] : statistics) {
        std::memcpy(value, &number, sizeof number);
        value += sizeof number;
      }
      return 0;
    }
    return EOPNOTSUPP;
  }
};

}  // namespace snp::rss
