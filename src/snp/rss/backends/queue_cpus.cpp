#include "snp/rss/backends/queue_cpus.h"

#include <charconv>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace snp::rss {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The interrupts of the device: of its own, or of the bus device behind it (virtio).
std::set<std::string> interrupts_of(const Sysfs& sysfs, const std::string& device) {
  const std::string folder = "class/net/" + device + "/device";
  std::set<std::string> numbers;
  for (const char* inner : {"/msi_irqs", "/../msi_irqs"})
    for (const std::string& number : sysfs.list(folder + inner))
      numbers.insert(number);
  return numbers;
}

}  // namespace

std::optional<std::uint32_t> queue_in_interrupt(const std::string& name) {
  static const std::regex kReceives(
      R"(^.*(?:input\.|(?:TxRx|rxtx|RxTx|rx|Rx|comp|mlx5_comp|-Tx-Rx|-q|-fp|-)-?)(\d+)(?:@.*)?$)");
  static const std::regex kSends(R"((?:output\.|[^x]tx-|^tx|[Tt]x-\d+$))");
  std::smatch match;
  const bool is_both = name.find("TxRx") != std::string::npos ||
                       name.find("rxtx") != std::string::npos ||
                       name.find("Tx-Rx") != std::string::npos;
  if (!is_both && std::regex_search(name, kSends)) return std::nullopt;
  if (!std::regex_match(name, match, kReceives)) return std::nullopt;
  const std::string digits = match[1];
  std::uint32_t queue = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), queue);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return queue;
}

QueueCpus queue_cpus_of(const Sysfs& sysfs, const std::string& device, std::uint32_t queues,
                        const std::string& proc) {
  QueueCpus cpus(queues);
  const std::set<std::string> own = interrupts_of(sysfs, device);
  std::ifstream file(proc + "/interrupts");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string number;
    std::string name;
    words >> number;
    if (number.empty() || number.back() != ':') continue;
    number.pop_back();
    if (!own.contains(number)) continue;
    for (std::string word; words >> word;)
      name = word;  // the last one
    const auto queue = queue_in_interrupt(name);
    if (!queue || *queue >= queues) continue;
    const std::string irq = std::string(proc).append("/irq/").append(number);
    std::string where = first_line(irq + "/effective_affinity_list");
    if (where.empty()) where = first_line(irq + "/smp_affinity_list");
    const auto list = parse_cpu_list(where);
    if (list && list->size() == 1) cpus[*queue] = list->front();
  }
  return cpus;
}

}  // namespace snp::rss
