// Routes, neighbours and devices as a real kernel tells them, and what becomes of a neighbour's
// entry.
#include <algorithm>
#include <chrono>
#include <thread>

#include <poll.h>

#include <gtest/gtest.h>

#include "snp/host/network.h"

#include "test/support/netns.h"

namespace snp::host {
namespace {

using test::InNamespace;
using test::NetnsLab;
using Kind = Network::Change::Kind;

class NetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Network::open();
    ASSERT_TRUE(opened) << opened.error().message;
    network_ = std::move(*opened);
  }

  // As the daemon does: again until the neighbour is resolved.
  Result<Path> find_path_in_time(const FourTuple& flow, std::uint32_t bound_ifindex = 0) {
    auto path = network_->find_path(flow, bound_ifindex);
    for (int i = 0; i < 60'000 && !path && path.error().code == Errc::kBusy; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      path = network_->find_path(flow, bound_ifindex);
    }
    return path;
  }

  [[nodiscard]] FourTuple v4() const { return {{left().v4, 80}, {right().v4, 4000}}; }
  [[nodiscard]] FourTuple v6() const { return {{left().v6, 80}, {right().v6, 4000}}; }
  [[nodiscard]] const NetnsLab::Side& left() const { return lab_.left(); }
  [[nodiscard]] const NetnsLab::Side& right() const { return lab_.right(); }

  // Dispatches until such a change has been told.
  testing::AssertionResult sees(Kind kind, std::uint32_t ifindex, const IpAddress& address = {}) {
    bool seen = false;
    for (int i = 0; i < 6000 && !seen; ++i) {
      pollfd readable{network_->fd(), POLLIN, 0};
      ::poll(&readable, 1, 10);
      network_->dispatch([&](const Network::Change& change) {
        seen = seen || (change.kind == kind && (change.ifindex == ifindex || change.ifindex == 0) &&
                        change.address == address);
      });
    }
    return seen ? testing::AssertionSuccess() : testing::AssertionFailure() << "not told in 60 s";
  }

  NetnsLab lab_;
  InNamespace inside_{lab_.left()};
  std::unique_ptr<Network> network_;
};

TEST_F(NetworkTest, NeighbourIsAskedForAndFound) {
  for (const FourTuple& flow : {v4(), v6()}) {
    const auto first = network_->find_path(flow);
    ASSERT_FALSE(first) << "nobody has talked to the peer yet";
    EXPECT_EQ(first.error().code, Errc::kBusy);
    EXPECT_TRUE(sees(Kind::kNeighbour, left().ifindex, flow.remote.address));
    const auto path = network_->find_path(flow);
    ASSERT_TRUE(path) << path.error().message;
    EXPECT_EQ(path->ifindex, left().ifindex);
    EXPECT_EQ(path->local_mac, left().mac);
    EXPECT_EQ(path->next_hop_mac, right().mac);
    EXPECT_EQ(path->next_hop, flow.remote.address);
    EXPECT_EQ(path->mtu, 1500);
    EXPECT_FALSE(path->is_loopback);
  }
}

TEST_F(NetworkTest, LinkLocalNeedsTheDevice) {
  const FourTuple flow{{left().link_local, 80}, {right().link_local, 4000}};
  const auto path = find_path_in_time(flow, left().ifindex);
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(path->next_hop_mac, right().mac);
}

TEST_F(NetworkTest, OwnAddressesAreLoopback) {
  for (const IpAddress& address : {left().v4, IpAddress::v4(127, 0, 0, 1), left().v6}) {
    const auto path = network_->find_path({{address, 80}, {address, 4000}});
    ASSERT_TRUE(path) << path.error().message;
    EXPECT_TRUE(path->is_loopback);
  }
}

TEST_F(NetworkTest, NoRoute) {
  const auto path = network_->find_path({{left().v4, 80}, {IpAddress::v4(192, 0, 2, 1), 4000}});
  ASSERT_FALSE(path);
  EXPECT_EQ(path.error().code, Errc::kNotFound);
}

TEST_F(NetworkTest, GatewayAndMetricOfTheRoute) {
  NetnsLab::run_in(left(),
                   {"ip", "route", "add", "192.0.2.0/24", "via", "10.77.0.2", "mtu", "1300"});
  NetnsLab::run_in(
      left(), {"ip", "route", "add", "198.51.100.0/24", "via", "inet6", "fd77::2", "dev", "l0"});
  const auto path = find_path_in_time({{left().v4, 80}, {IpAddress::v4(192, 0, 2, 1), 4000}});
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(path->next_hop, right().v4);
  EXPECT_EQ(path->mtu, 1300);
  const auto mixed = find_path_in_time({{left().v4, 80}, {IpAddress::v4(198, 51, 100, 1), 4000}});
  ASSERT_TRUE(mixed) << mixed.error().message;
  EXPECT_EQ(mixed->next_hop, right().v6);
  EXPECT_EQ(mixed->next_hop_mac, right().mac);
}

TEST_F(NetworkTest, CacheFollowsRoutesDevicesAndNeighbours) {
  ASSERT_TRUE(find_path_in_time(v4()));
  NetnsLab::run_in(left(), {"ip", "link", "set", "l0", "mtu", "1400"});
  EXPECT_TRUE(sees(Kind::kLink, left().ifindex));
  EXPECT_EQ(find_path_in_time(v4())->mtu, 1400);
  NetnsLab::run_in(left(), {"ip", "route", "add", "10.77.0.2/32", "dev", "l0", "mtu", "1200"});
  EXPECT_TRUE(sees(Kind::kRoute, 0));
  EXPECT_EQ(find_path_in_time(v4())->mtu, 1200);
  NetnsLab::run_in(
      left(), {"ip", "neigh", "replace", "10.77.0.2", "dev", "l0", "lladdr", "02:00:00:00:99:99"});
  EXPECT_TRUE(sees(Kind::kNeighbour, left().ifindex, right().v4));
  EXPECT_EQ(find_path_in_time(v4())->next_hop_mac[5], 0x99);
  NetnsLab::run_in(left(), {"ip", "rule", "add", "dport", "4001", "prohibit"});
  EXPECT_TRUE(sees(Kind::kRoute, 0));
  FourTuple other = v4();
  other.remote.port = 4001;
  EXPECT_TRUE(find_path_in_time(v4()));
  EXPECT_FALSE(find_path_in_time(other)) << "a rule looks at ports, so must the cache";
}

TEST_F(NetworkTest, ConfirmingKeepsAnEntryReachableAndMakesNothingPermanent) {
  ASSERT_TRUE(find_path_in_time(v4()));
  NetnsLab::run_in(left(), {"ip", "neigh", "change", "10.77.0.2", "dev", "l0", "nud", "stale"});
  network_->confirm_neighbour(left().ifindex, right().v4);
  EXPECT_NE(left().netns.output_of("ip neigh show 10.77.0.2").find("REACHABLE"), std::string::npos);
  NetnsLab::run_in(left(), {"ip", "neigh", "replace", "10.77.0.2", "dev", "l0", "lladdr",
                            "02:00:00:00:77:02", "nud", "permanent"});
  network_->confirm_neighbour(left().ifindex, right().v4);
  EXPECT_NE(left().netns.output_of("ip neigh show 10.77.0.2").find("PERMANENT"), std::string::npos);
  network_->confirm_neighbour(left().ifindex, IpAddress::v4(10, 77, 0, 77));
  EXPECT_EQ(left().netns.output_of("ip neigh show 10.77.0.77"), "") << "none is made";
}

TEST_F(NetworkTest, DevicesByName) {
  const auto link = network_->find_link("l0");
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(link->ifindex, left().ifindex);
  EXPECT_EQ(link->mac, left().mac);
  EXPECT_EQ(link->mtu, 1500u);
  EXPECT_TRUE(link->is_up);
  NetnsLab::run_in(left(), {"ip", "link", "set", "l0", "down"});
  EXPECT_TRUE(sees(Kind::kLink, left().ifindex));
  EXPECT_FALSE(network_->find_link("l0")->is_up);
  const auto none = network_->find_link("no-such-device");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace snp::host
