#include "snp/rss/backends/choice.h"

#include <algorithm>

namespace snp::rss {
namespace {

bool has_card_table(const DeviceFacts& device) {
  return device.card_entries > 0 && device.queues > 1;
}

std::string card_in_words(const DeviceFacts& device) {
  return "its own table of " + std::to_string(device.card_entries) + " entries over " +
         std::to_string(device.queues) + " receive queues";
}

std::string why_no_card(const DeviceFacts& device) {
  const std::string driver = device.driver.empty() ? "its driver" : device.driver;
  if (device.card_entries == 0) return driver + " has no indirection table (ethtool -x)";
  return "it has one receive queue (ethtool -L gives more where the card can)";
}

// Never native where a frame may come with an unfinished checksum (design section 6).
XdpMode mode_for(const DeviceFacts& device) {
  return device.is_physical ? XdpMode::kNative : XdpMode::kGeneric;
}

Choice automatic(const DeviceFacts& device, bool is_shaped) {
  if (has_card_table(device) && !is_shaped)
    return {BackendKind::kNone,
            {},
            false,
            "the card spreads by itself, by " + card_in_words(device) +
                "; any setting of the spreading, or rss_backend card, makes the table ours"};
  if (has_card_table(device))
    return {BackendKind::kCard, {}, false, "it has " + card_in_words(device)};
  if (!device.is_physical)
    return {BackendKind::kNone,
            {},
            false,
            "packets of a virtual device are received on the CPU of who sent them; rss_backend can "
            "say rps or cpumap nevertheless"};
  if (!device.has_rps)
    return {
        BackendKind::kNone, {}, false, why_no_card(device) + ", and no RPS: " + device.rps_missing};
  return {BackendKind::kRps,
          {},
          true,
          why_no_card(device) +
              "; RPS, once one CPU is not enough (rss_backend can say cpumap: "
              "our hash and table, in an XDP program)"};
}

}  // namespace

DeviceFacts look_at(const std::string& device, std::uint32_t ifindex, const EthtoolCall& card,
                    const Sysfs& sysfs) {
  DeviceFacts facts;
  facts.name = device;
  facts.ifindex = ifindex;
  facts.driver = driver_of(card);
  facts.queues = receive_queues_of(card);
  if (const auto table = read_card_table(card))
    facts.card_entries = static_cast<std::uint32_t>(table->queues.size());
  if (!sysfs.shows(device, ifindex)) {
    facts.rps_missing = "/sys is that of another network namespace";
    return facts;
  }
  const std::string folder = "class/net/" + device;
  facts.is_physical = !sysfs.list(folder + "/device").empty();
  facts.has_rps = sysfs.read(folder + "/queues/rx-0/rps_cpus").has_value();
  if (!facts.has_rps) facts.rps_missing = "this kernel was built without it (CONFIG_RPS)";
  return facts;
}

Result<Choice> choose_backend(std::string_view wanted, const DeviceFacts& device, std::size_t cpus,
                              bool is_shaped) {
  if (wanted == "none") return Choice{BackendKind::kNone, {}, false, "rss_backend says so"};
  if (wanted == "card" && !has_card_table(device))
    return fail(Errc::kUnsupported,
                "INVALID_PORT_STATE: " + device.name + ": " + why_no_card(device));
  if (wanted == "rps" && !device.has_rps)
    return fail(Errc::kUnsupported,
                "INVALID_PORT_STATE: " + device.name + ": no RPS: " + device.rps_missing);
  if (cpus < 2) return Choice{BackendKind::kNone, {}, false, "there is one CPU in the RSS set"};
  if (wanted == "card")
    return Choice{BackendKind::kCard, {}, false, "rss_backend says so: " + card_in_words(device)};
  if (wanted == "rps") return Choice{BackendKind::kRps, {}, false, "rss_backend says so"};
  if (wanted == "cpumap")
    return Choice{BackendKind::kCpumap, mode_for(device), false, "rss_backend says so"};
  return automatic(device, is_shaped);
}

}  // namespace snp::rss
