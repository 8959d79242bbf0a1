// What commands ask of the host: its sockets, devices and TCP.
#include <algorithm>

#include "snp/commands/netdma_words.h"
#include "snp/daemon/control.h"
#include "snp/host/device_offloads.h"
#include "snp/host/sysctl.h"
#include "snp/host/tcp_sockets.h"

namespace snp::daemon {

Result<std::vector<commands::TcpSocket>> Control::tcp_sockets() {
  const auto sockets = host::list_tcp_sockets();
  if (!sockets) return tl::unexpected(sockets.error());
  std::vector<commands::TcpSocket> rows;
  for (const host::TcpSocketRow& socket : *sockets)
    rows.push_back({socket.flow, socket.state, socket.is_listening});
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.flow < b.flow; });
  return rows;
}

commands::HostTcp Control::host_tcp() {
  return {host::read_sysctl("net/ipv4/tcp_moderate_rcvbuf").value_or(1) != 0,
          host::read_sysctl("net/ipv4/tcp_ecn").value_or(0),
          host::read_sysctl("net/ipv4/tcp_timestamps").value_or(1) != 0};
}

std::vector<commands::DeviceRow> Control::devices() {
  std::vector<commands::DeviceRow> rows;
  for (const host::DeviceOffloads& device : host::list_device_offloads()) {
    commands::DeviceRow row;
    row.ifindex = device.ifindex;
    row.name = device.name;
    row.is_up = device.is_up;
    row.task_offloads = device.names;
    const auto& served = parts_.inheritance.devices;
    row.is_served = std::any_of(served.begin(), served.end(), [&](const DeviceChoice& choice) {
      return choice.name == row.name;
    });
    rows.push_back(std::move(row));
  }
  parts_.offloader.fill(rows);
  return rows;
}

commands::NetdmaReport Control::netdma() {
  commands::NetdmaReport report;
  parts_.copy_engines.fill(report);
  report.counts = parts_.engine.netdma_stats();
  report.quarantined =
      static_cast<std::uint32_t>(report.counts.metrics[stats::NetdmaMetric::kQuarantined]);
  return report;
}

void Control::calibrate_netdma(Done done) {
  parts_.copy_engines.calibrate(std::move(done));
}

// The one place where a feature says whether it is there.
std::vector<commands::FeatureState> Control::features() {
  return {
      {commands::kRssFeature, true,
       "spreads the packets of offloaded connections over the shards, and those of the host over "
       "CPUs as far as each device can; 'snp rss show' says how."},
      {commands::kNetdmaFeature, true, commands::state_of(netdma()) + "."},
  };
}

}  // namespace snp::daemon
