#include "snp/rss/backends/ethtool.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <regex>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "snp/base/unique_fd.h"

namespace snp::rss {
namespace {

constexpr std::uint32_t kMostEntries = 65536;  // a driver that says more is not believed
constexpr std::uint32_t kMostKeyBytes = 1024;

Failure explain(const std::string& what, int error) {
  if (error == EOPNOTSUPP)
    return fail(Errc::kUnsupported, "INVALID_PORT_STATE: " + what + ": the card cannot do that");
  if (error == ENODEV)
    return fail(Errc::kNotFound, "INVALID_PORT_STATE: " + what + ": the device is gone");
  return fail_errno(what, error);
}

// An ethtool structure with an array at its end. Words, because it is read as such.
template <class T>
class Request {
 public:
  Request(std::uint32_t command, std::size_t array_bytes)
      : words_((sizeof(T) + array_bytes + 7) / 8) {
    new (words_.data()) T{};
    head().cmd = command;
  }
  T& head() { return *reinterpret_cast<T*>(words_.data()); }
  std::byte* array() { return reinterpret_cast<std::byte*>(words_.data()) + sizeof(T); }
  void* data() { return words_.data(); }

 private:
  std::vector<std::uint64_t> words_;
};

Result<> send_table(const EthtoolCall& card, const CardTable& table, std::uint32_t entries) {
  Request<ethtool_rxfh> request(ETHTOOL_SRSSH,
                                table.queues.size() * sizeof(std::uint32_t) + table.key.size());
  request.head().indir_size = entries;
  request.head().key_size = static_cast<std::uint32_t>(table.key.size());
  request.head().hfunc = table.function;
  const std::size_t table_bytes = table.queues.size() * sizeof(std::uint32_t);
  if (table_bytes != 0) std::memcpy(request.array(), table.queues.data(), table_bytes);
  if (!table.key.empty())
    std::memcpy(request.array() + table_bytes, table.key.data(), table.key.size());
  if (const int error = -card(request.data()); error != 0)
    return explain("the card's table cannot be set", error);
  return {};
}

}  // namespace

EthtoolCall ethtool_of(const std::string& device) {
  return [device](void* data) {
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = static_cast<char*>(data);
    return fd.is_open() && ::ioctl(fd.get(), SIOCETHTOOL, &request) == 0 ? 0 : -errno;
  };
}

std::uint32_t receive_queues_of(const EthtoolCall& card) {
  ethtool_rxnfc request{};
  request.cmd = ETHTOOL_GRXRINGS;
  return card(&request) == 0 ? static_cast<std::uint32_t>(request.data) : 0;
}

Result<CardTable> read_card_table(const EthtoolCall& card) {
  Request<ethtool_rxfh> sizes(ETHTOOL_GRSSH, 0);
  if (const int error = -card(sizes.data()); error != 0)
    return explain("the card's table cannot be read", error);
  const std::uint32_t entries = sizes.head().indir_size;
  const std::uint32_t key_bytes = sizes.head().key_size;
  if (entries == 0)
    return fail(Errc::kUnsupported, "INVALID_PORT_STATE: the card has no indirection table");
  if (entries > kMostEntries || key_bytes > kMostKeyBytes)
    return fail(Errc::kUnsupported, "the card names an impossible table size");
  Request<ethtool_rxfh> request(ETHTOOL_GRSSH, entries * sizeof(std::uint32_t) + key_bytes);
  request.head().indir_size = entries;
  request.head().key_size = key_bytes;
  if (const int error = -card(request.data()); error != 0)
    return explain("the card's table cannot be read", error);
  CardTable table;
  table.queues.resize(entries);
  table.key.resize(key_bytes);
  table.function = request.head().hfunc;
  std::memcpy(table.queues.data(), request.array(), entries * sizeof(std::uint32_t));
  if (key_bytes != 0)
    std::memcpy(table.key.data(), request.array() + entries * sizeof(std::uint32_t), key_bytes);
  return table;
}

Result<> write_card_table(const EthtoolCall& card, const CardTable& table) {
  const bool has_table = !table.queues.empty();
  return send_table(
      card, table,
      has_table ? static_cast<std::uint32_t>(table.queues.size()) : ETH_RXFH_INDIR_NO_CHANGE);
}

Result<> reset_card_table(const EthtoolCall& card) {
  return send_table(card, {}, 0);
}

std::optional<std::uint64_t> read_card_fields(const EthtoolCall& card, std::uint32_t flow) {
  ethtool_rxnfc request{};
  request.cmd = ETHTOOL_GRXFH;
  request.flow_type = flow;
  if (card(&request) != 0) return std::nullopt;
  return request.data;
}

Result<> write_card_fields(const EthtoolCall& card, std::uint32_t flow, std::uint64_t fields) {
  ethtool_rxnfc request{};
  request.cmd = ETHTOOL_SRXFH;
  request.flow_type = flow;
  request.data = fields;
  if (const int error = -card(&request); error != 0)
    return explain("what the card hashes cannot be set", error);
  return {};
}

std::optional<std::uint32_t> queue_in_statistic(const std::string& name) {
  static const std::regex kKnown(
      R"(^(?:rx_queue_|rx-|rx_|rx|queue_)(\d+)(?:_rx_|_rx\.|_|\.|\.rx_)(?:packets|pkts|cnt)$)");
  std::smatch match;
  if (!std::regex_match(name, match, kKnown)) return std::nullopt;
  const std::string digits = match[1];
  std::uint32_t queue = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), queue);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return queue;
}

std::vector<std::uint64_t> queue_packets_of(const EthtoolCall& card, std::uint32_t queues) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (card(&driver) != 0 || driver.n_stats == 0 || driver.n_stats > kMostEntries) return {};
  Request<ethtool_gstrings> names(ETHTOOL_GSTRINGS, std::size_t{driver.n_stats} * ETH_GSTRING_LEN);
  names.head().string_set = ETH_SS_STATS;
  names.head().len = driver.n_stats;
  Request<ethtool_stats> values(ETHTOOL_GSTATS, driver.n_stats * sizeof(std::uint64_t));
  values.head().n_stats = driver.n_stats;
  // The number may change between the calls; the kernel fills no more than there was room for.
  if (card(names.data()) != 0 || card(values.data()) != 0) return {};
  const std::uint32_t count = std::min(names.head().len, values.head().n_stats);
  std::vector<std::uint64_t> packets(queues);
  bool is_any = false;
  for (std::uint32_t i = 0; i < std::min(count, driver.n_stats); ++i) {
    const auto* name = reinterpret_cast<const char*>(names.array() + i * ETH_GSTRING_LEN);
    const auto queue = queue_in_statistic({name, ::strnlen(name, ETH_GSTRING_LEN)});
    if (!queue || *queue >= queues) continue;
    std::memcpy(&packets[*queue], values.array() + i * sizeof(std::uint64_t),
                sizeof(std::uint64_t));
    is_any = true;
  }
  return is_any ? packets : std::vector<std::uint64_t>();
}

std::string driver_of(const EthtoolCall& card) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (card(&driver) != 0) return {};
  return {driver.driver, ::strnlen(driver.driver, sizeof driver.driver)};
}

}  // namespace snp::rss
