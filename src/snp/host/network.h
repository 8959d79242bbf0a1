// What the host knows of the way to a peer: routes, neighbours, path MTU, devices. rtnetlink
// (libmnl). Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/wire/address.h"

namespace snp::host {

struct Path {
  std::uint32_t ifindex = 0;
  std::array<std::uint8_t, 6> local_mac{};
  std::array<std::uint8_t, 6> next_hop_mac{};
  IpAddress next_hop;
  std::uint16_t mtu = 1500;
  bool is_loopback = false;  // `lo`, or the peer's address is our own
};

struct Link {
  std::uint32_t ifindex = 0;
  std::string name;
  std::array<std::uint8_t, 6> mac{};
  std::uint32_t mtu = 0;
  bool is_up = false;
};

class Network {
 public:
  static Result<std::unique_ptr<Network>> open();
  virtual ~Network() = default;

  // Route, then neighbour. kNotFound: no route. kBusy: the neighbour is not resolved yet (it is
  // asked for; a kNeighbour change tells when it is). kUnsupported: not an Ethernet device.
  // `bound_ifindex`: the socket's device (SocketSurvey), needed for link-local addresses. Answers
  // from a cache that dispatch() keeps true.
  virtual Result<Path> find_path(const FourTuple& flow, std::uint32_t bound_ifindex = 0) = 0;
  virtual Result<Link> find_link(const std::string& name) = 0;

  // Notifications: poll fd() and call dispatch() when readable. `on_change` is told which device,
  // route or neighbour changed, coarsely: the caller asks find_path() again for the connections
  // concerned. Neighbours: only those that find_path() has named, and only when their link address
  // changed, came or went.
  struct Change {
    enum class Kind { kLink, kAddress, kRoute, kNeighbour } kind;
    std::uint32_t ifindex = 0;  // 0: any
    IpAddress address;          // kNeighbour: whose
  };
  [[nodiscard]] virtual int fd() const noexcept = 0;
  virtual void dispatch(const std::function<void(const Change&)>& on_change) = 0;

  // Forward progress (reference 4.10): the host no longer sees the traffic that keeps the entry
  // alive.
  virtual void confirm_neighbour(std::uint32_t ifindex, const IpAddress& next_hop) = 0;
};

}  // namespace snp::host
