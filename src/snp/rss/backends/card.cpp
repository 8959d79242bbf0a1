#include "snp/rss/backends/card.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <linux/ethtool.h>

namespace snp::rss {
namespace {

struct FlowKind {
  std::uint32_t flow;
  const char* name;
  HashTypes addresses, ports;  // hashed on addresses; on ports, too
};
constexpr std::array kFlows = {
    FlowKind{TCP_V4_FLOW, "tcp4", kIpv4, kTcpIpv4},
    FlowKind{UDP_V4_FLOW, "udp4", kIpv4, kUdpIpv4},
    FlowKind{TCP_V6_FLOW, "tcp6", kIpv6 | kIpv6Ex, kTcpIpv6 | kTcpIpv6Ex},
    FlowKind{UDP_V6_FLOW, "udp6", kIpv6 | kIpv6Ex, kUdpIpv6 | kUdpIpv6Ex},
};
constexpr std::uint64_t kAddressFields = RXH_IP_SRC | RXH_IP_DST;
constexpr std::uint64_t kPortFields = kAddressFields | RXH_L4_B_0_1 | RXH_L4_B_2_3;
constexpr const char* kNothing = "-";
constexpr const char* kDefault = "default";

std::uint64_t fields_of(const FlowKind& kind, HashTypes types) {
  if ((types & kind.ports) != 0) return kPortFields;
  return (types & kind.addresses) != 0 ? kAddressFields : 0;
}

std::string to_hex(const std::vector<std::uint8_t>& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text.empty() ? kNothing : text;
}

template <class T>
std::optional<T> number_in(const std::string& text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::vector<std::uint8_t>> from_hex(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  if (text == kNothing) return bytes;
  if (text.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const auto byte = number_in<std::uint8_t>(text.substr(i, 2), 16);
    if (!byte) return std::nullopt;
    bytes.push_back(*byte);
  }
  return bytes;
}

// A driver's table before anybody has set one: queues in turn (ethtool_rxfh_indir_default()).
bool is_default(const std::vector<std::uint32_t>& table, std::uint32_t queues) {
  for (std::size_t i = 0; i < table.size(); ++i)
    if (queues == 0 || table[i] != i % queues) return false;
  return true;
}

std::string to_words(const std::vector<std::uint32_t>& table) {
  std::string text;
  for (const std::uint32_t queue : table)
    text += (text.empty() ? "" : ",") + std::to_string(queue);
  return text;
}

std::optional<std::vector<std::uint32_t>> from_words(const std::string& text) {
  std::vector<std::uint32_t> table;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) {
    const auto queue = number_in<std::uint32_t>(word);
    if (!queue) return std::nullopt;
    table.push_back(*queue);
  }
  return table;
}

// The key as long as the card wants it; what is behind our 40 bytes meets no input.
std::vector<std::uint8_t> key_for(const HashKey& key, std::size_t bytes) {
  std::vector<std::uint8_t> wanted(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    wanted[i] = key[i % key.size()];
  return wanted;
}

class Card final : public Backend {
 public:
  Card(std::string device, std::uint32_t ifindex, EthtoolCall card,
       std::function<QueueCpus(std::uint32_t)> queue_cpus, Journal& journal)
      : device_(std::move(device)),
        ifindex_(ifindex),
        card_(std::move(card)),
        queue_cpus_(std::move(queue_cpus)),
        journal_(journal) {}

  [[nodiscard]] BackendKind kind() const noexcept override { return BackendKind::kCard; }
  Result<> apply(const HostDistribution& wanted) override;
  Result<std::vector<std::uint64_t>> bucket_packets() override;
  Result<BackendState> look() override;
  Result<> undo() override { return restore_card(device_, ifindex_, card_, journal_); }
  void release() override {
    (void)journal_.remove("fields", ifindex_);
    (void)journal_.remove("card", ifindex_);
  }

 private:
  Result<> remember(const CardTable& before, std::uint32_t queues);
  Result<> write(const CardTable& before, CardTable next);
  void set_fields(HashTypes types);
  void remark(const std::string& what);

  std::string device_;
  std::uint32_t ifindex_;
  EthtoolCall card_;
  std::function<QueueCpus(std::uint32_t)> queue_cpus_;
  Journal& journal_;
  std::vector<std::uint32_t> queues_;  // as applied, of each bucket of the card
  std::map<std::uint32_t, CpuId> cpu_of_queue_;
  std::size_t buckets_ = 0;  // of our table
  std::string remark_;
};

Result<> Card::remember(const CardTable& before, std::uint32_t queues) {
  std::vector<JournalLine> lines = {
      {"card",
       device_,
       ifindex_,
       {std::to_string(before.function), to_hex(before.key),
        is_default(before.queues, queues) ? kDefault : to_words(before.queues)}}};
  for (const FlowKind& kind : kFlows)
    if (const auto fields = read_card_fields(card_, kind.flow))
      lines.push_back({"fields", device_, ifindex_, {kind.name, std::to_string(*fields)}});
  return journal_.add(std::move(lines));
}

// Many cards have a key or a function that cannot be changed: then the table alone.
Result<> Card::write(const CardTable& before, CardTable next) {
  auto done = write_card_table(card_, next);
  if (done || done.error().code == Errc::kNotFound) return done;
  const bool has_other = next.key != before.key || next.function != before.function;
  if (!has_other) return done;
  next.key.clear();
  next.function = 0;
  if (auto table_alone = write_card_table(card_, next); !table_alone) return table_alone;
  remark("the card keeps its own key or hash function");
  return {};
}

void Card::set_fields(HashTypes types) {
  std::string kept;
  for (const FlowKind& kind : kFlows) {
    const auto now = read_card_fields(card_, kind.flow);
    const std::uint64_t wanted = fields_of(kind, types);
    if (!now || *now == wanted) continue;
    if (!write_card_fields(card_, kind.flow, wanted)) kept += std::string(" ") + kind.name;
  }
  if (!kept.empty()) remark("the card hashes as it likes:" + kept);
}

void Card::remark(const std::string& what) {
  remark_ += (remark_.empty() ? "" : "; ") + what;
}

Result<> Card::apply(const HostDistribution& wanted) {
  if (wanted.table.empty() || !std::has_single_bit(wanted.table.size()))
    return fail(Errc::kInvalid, "INVALID_PARAMETER: a table has a power of two of entries");
  const auto now = read_card_table(card_);
  if (!now) return with_context(device_, now.error());
  const std::uint32_t queues = receive_queues_of(card_);
  if (queues < 2)
    return fail(Errc::kUnsupported, "NO_QUEUES: " + device_ + " has one receive queue");
  const QueueCpus cpus = queue_cpus_(queues);
  CardTable next;
  next.queues = queues_for(wanted.table, now->queues.size(), queues, cpus);
  next.key = key_for(wanted.key, now->key.size());
  if (now->function != 0) next.function = kCardToeplitz;
  if (auto done = remember(*now, queues); !done) return done;
  remark_.clear();
  // In this order: virtio_net tells its card of fields only together with the next table.
  set_fields(wanted.types);
  if (auto done = write(*now, next); !done) return with_context(device_, done.error());
  queues_ = next.queues;
  buckets_ = wanted.table.size();
  cpu_of_queue_.clear();
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    const std::uint32_t queue = queues_[i];
    const bool is_known = queue < cpus.size() && cpus[queue];
    cpu_of_queue_[queue] = is_known ? *cpus[queue] : wanted.table[i % wanted.table.size()];
    if (!is_known)
      remark_ = remark_.empty() ? "which CPU a queue interrupts is not known" : remark_;
  }
  return {};
}

Result<std::vector<std::uint64_t>> Card::bucket_packets() {
  const std::uint32_t queues = receive_queues_of(card_);
  if (queues == 0)
    return fail(Errc::kNotFound, "INVALID_PORT_STATE: " + device_ + " is gone, or has no queues");
  const std::vector<std::uint64_t> of_queue = queue_packets_of(card_, queues);
  std::vector<std::uint64_t> packets;
  if (of_queue.empty() || queues_.empty()) return packets;
  std::map<std::uint32_t, std::uint64_t> sharers;
  for (std::size_t bucket = 0; bucket < buckets_; ++bucket)
    ++sharers[queues_[bucket % queues_.size()]];
  for (std::size_t bucket = 0; bucket < buckets_; ++bucket) {
    const std::uint32_t queue = queues_[bucket % queues_.size()];
    packets.push_back(queue < of_queue.size() ? of_queue[queue] / sharers[queue] : 0);
  }
  return packets;
}

Result<BackendState> Card::look() {
  const auto now = read_card_table(card_);
  if (!now) return with_context(device_, now.error());
  if (now->queues != queues_)
    return fail(Errc::kBusy,
                device_ + ": somebody has changed the card's table (ethtool -x shows it)");
  BackendState state;
  state.queues = now->queues;
  for (const std::uint32_t queue : now->queues)
    state.table.push_back(cpu_of_queue_.at(queue));
  state.cpus = state.table;
  std::ranges::sort(state.cpus);
  state.cpus.erase(std::unique(state.cpus.begin(), state.cpus.end()), state.cpus.end());
  state.remark = remark_;
  return state;
}

Result<> put_back(const EthtoolCall& card, const JournalLine& line) {
  if (line.words.size() != 3) return {};
  CardTable before;
  const auto key = from_hex(line.words[1]);
  const auto table =
      line.words[2] == kDefault ? std::vector<std::uint32_t>() : from_words(line.words[2]);
  if (!key || !table) return {};
  before.key = *key;
  before.queues = *table;
  before.function = number_in<std::uint8_t>(line.words[0]).value_or(0);
  // Key and function may be the card's own, which it does not let anybody write.
  if (auto done = write_card_table(card, before); !done) {
    if (done.error().code == Errc::kNotFound) return done;
    before.key.clear();
    before.function = 0;
    if (!before.queues.empty())
      if (auto alone = write_card_table(card, before); !alone) return alone;
  }
  return line.words[2] == kDefault ? reset_card_table(card) : Result<>();
}

}  // namespace

std::vector<std::uint32_t> queues_for(const std::vector<CpuId>& table, std::size_t entries,
                                      std::uint32_t queues, const QueueCpus& cpus) {
  std::map<CpuId, std::vector<std::uint32_t>> of_cpu;
  for (std::uint32_t queue = 0; queue < queues && queue < cpus.size(); ++queue)
    if (cpus[queue]) of_cpu[*cpus[queue]].push_back(queue);
  std::map<CpuId, std::uint32_t> number;  // of the CPU among those of the table
  std::map<CpuId, std::size_t> turn;
  std::vector<std::uint32_t> chosen;
  for (std::size_t i = 0; i < entries; ++i) {
    const CpuId cpu = table[i % table.size()];
    const auto own = of_cpu.find(cpu);
    if (own != of_cpu.end()) {
      chosen.push_back(own->second[turn[cpu]++ % own->second.size()]);
      continue;
    }
    const auto [entry, is_new] = number.try_emplace(cpu, static_cast<std::uint32_t>(number.size()));
    chosen.push_back(entry->second % queues);
  }
  return chosen;
}

std::unique_ptr<Backend> make_card(std::string device, std::uint32_t ifindex, EthtoolCall card,
                                   std::function<QueueCpus(std::uint32_t queues)> queue_cpus,
                                   Journal& journal) {
  return std::make_unique<Card>(std::move(device), ifindex, std::move(card), std::move(queue_cpus),
                                journal);
}

Result<> restore_card(const std::string& /*device*/, std::uint32_t ifindex, const EthtoolCall& card,
                      Journal& journal) {
  Result<> failure;
  for (const JournalLine& line : journal.of("fields", ifindex)) {
    const auto kind = std::ranges::find(kFlows, line.words.front(), &FlowKind::name);
    const auto fields =
        line.words.size() == 2 ? number_in<std::uint64_t>(line.words[1]) : std::nullopt;
    if (kind == kFlows.end() || !fields) continue;
    // A card that does not let itself be asked did not let itself be changed.
    if (read_card_fields(card, kind->flow) != *fields)
      (void)write_card_fields(card, kind->flow, *fields);
  }
  for (const JournalLine& line : journal.of("card", ifindex)) {
    const auto done = put_back(card, line);
    if (!done && done.error().code != Errc::kNotFound) failure = done;
  }
  if (!failure) return failure;
  if (auto done = journal.remove("fields", ifindex); !done) return done;
  return journal.remove("card", ifindex);
}

}  // namespace snp::rss
