#include "snp/rss/backends/sysfs.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snp/base/unique_fd.h"

namespace snp::rss {
namespace {

constexpr CpuId kMostCpus = 8192;               // CONFIG_NR_CPUS at its largest
constexpr std::uint32_t kUnknownDistance = 10;  // of a node from itself (ACPI SLIT)

template <class T>
std::optional<T> number_in(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    parts.push_back(part);
  return parts;
}

// By the kernel, which knows our namespace: "aa:bb:..".
std::string address_of(const std::string& device) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  if (!fd.is_open() || ::ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) return {};
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned>(static_cast<unsigned char>(request.ifr_hwaddr.sa_data[i]));
  };
  std::array<char, 18> text{};
  std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", byte(0), byte(1),
                byte(2), byte(3), byte(4), byte(5));
  return text.data();
}

}  // namespace

std::optional<std::vector<CpuId>> parse_cpu_list(const std::string& text) {
  std::vector<CpuId> cpus;
  for (const std::string& part : split(text, ',')) {
    const std::size_t dash = part.find('-');
    const auto first = number_in<CpuId>(std::string_view(part).substr(0, dash));
    const auto last = dash == std::string::npos
                          ? first
                          : number_in<CpuId>(std::string_view(part).substr(dash + 1));
    if (!first || !last || *last < *first || *last >= kMostCpus) return std::nullopt;
    for (CpuId cpu = *first; cpu <= *last; ++cpu)
      cpus.push_back(cpu);
  }
  return cpus;
}

std::string to_cpu_list(const std::vector<CpuId>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1)
      ++last;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (last > i) text += "-" + std::to_string(cpus[last]);
    i = last + 1;
  }
  return text;
}

std::optional<std::vector<CpuId>> parse_cpu_mask(const std::string& text) {
  std::vector<std::string> words = split(text, ',');
  std::ranges::reverse(words);
  std::vector<CpuId> cpus;
  for (std::size_t word = 0; word < words.size(); ++word) {
    const auto bits = number_in<std::uint32_t>(words[word], 16);
    if (!bits) return std::nullopt;
    for (CpuId bit = 0; bit < 32; ++bit)
      if ((*bits >> bit & 1u) != 0) cpus.push_back(static_cast<CpuId>(word) * 32 + bit);
  }
  return cpus;
}

std::string to_cpu_mask(const std::vector<CpuId>& cpus) {
  std::vector<std::uint32_t> words(1);
  for (const CpuId cpu : cpus) {
    if (words.size() <= cpu / 32) words.resize(cpu / 32 + 1);
    words[cpu / 32] |= 1u << cpu % 32;
  }
  std::string text;
  for (auto word = words.rbegin(); word != words.rend(); ++word) {
    std::array<char, 10> hex{};
    std::snprintf(hex.data(), hex.size(), text.empty() ? "%x" : ",%08x", *word);
    text += hex.data();
  }
  return text;
}

std::optional<std::string> Sysfs::read(const std::string& path) const {
  std::ifstream file(root_ + "/" + path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

Result<> Sysfs::write(const std::string& path, const std::string& text) const {
  const std::string whole = root_ + "/" + path;
  const UniqueFd fd(::open(whole.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd.is_open()) {
    if (errno == ENOENT) return fail(Errc::kNotFound, "there is no " + whole);
    return fail_errno("cannot open " + whole);
  }
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno("cannot write '" + text + "' to " + whole);
  return {};
}

std::vector<std::string> Sysfs::list(const std::string& path) const {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root_ + "/" + path, error), end;
       !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::vector<CpuId> Sysfs::online_cpus() const {
  const auto text = read("devices/system/cpu/online");
  const auto cpus = text ? parse_cpu_list(*text) : std::nullopt;
  return cpus && !cpus->empty() ? *cpus : std::vector<CpuId>{0};
}

std::vector<Processor> Sysfs::processors(int node) const {
  std::vector<Processor> processors;
  const std::string cpus = "devices/system/cpu/cpu";
  for (const CpuId cpu : online_cpus()) {
    Processor processor{cpu, 0, cpu, kUnknownDistance};
    const std::string folder = cpus + std::to_string(cpu);
    // The first of the threads names their core: core_id alone repeats in each package.
    if (const auto siblings = read(folder + "/topology/thread_siblings_list"))
      if (const auto threads = parse_cpu_list(*siblings); threads && !threads->empty())
        processor.core = threads->front();
    for (const std::string& name : list(folder))
      if (name.starts_with("node"))
        if (const auto number = number_in<std::uint32_t>(std::string_view(name).substr(4)))
          processor.node = *number;
    if (node >= 0) {
      const auto row = read("devices/system/node/node" + std::to_string(node) + "/distance");
      const auto distances = split(row.value_or(""), ' ');
      if (processor.node < distances.size())
        processor.distance =
            number_in<std::uint32_t>(distances[processor.node]).value_or(kUnknownDistance);
    }
    processors.push_back(processor);
  }
  return processors;
}

int Sysfs::node_of(const std::string& device) const {
  const auto text = read("class/net/" + device + "/device/numa_node");
  return text ? number_in<int>(*text).value_or(-1) : -1;
}

bool Sysfs::shows(const std::string& device, std::uint32_t ifindex) const {
  const std::string folder = "class/net/" + device;
  const auto shown = number_in<std::uint32_t>(read(folder + "/ifindex").value_or(""));
  return shown == ifindex && ::if_nametoindex(device.c_str()) == ifindex &&
         read(folder + "/address").value_or("") == address_of(device);
}

}  // namespace snp::rss
