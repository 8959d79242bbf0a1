#include "test/handover/parking_lab.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "snp/host/socket_calls.h"
#include "snp/wire/frame.h"

namespace snp::test {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "parking lab: %s: %s\n", what, ::strerrordesc_np(errno));
  std::abort();
}

UniqueFd open_tap(const NetnsLab::Side& side) {
  const InNamespace inside(side);
  UniqueFd tap(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = static_cast<int>(side.ifindex);
  const int large = 64 << 20;
  if (!tap.is_open() ||
      ::setsockopt(tap.get(), SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large) != 0 ||
      ::bind(tap.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
    die("packet socket");
  return tap;
}

int domain_of(Family family) {
  return family == Family::kV4 ? AF_INET : AF_INET6;
}

// The peer of a mapped connection is plain IPv4: only the host's socket is AF_INET6.
Endpoint endpoint_of(const NetnsLab::Side& side, Family family, std::uint16_t port) {
  switch (family) {
    case Family::kV6:
      return {side.v6, port};
    case Family::kLinkLocal:
      return {side.link_local, port};
    default:
      return {side.v4, port};
  }
}

UniqueFd listen_on_all(const NetnsLab::Side& side, int domain) {
  const InNamespace inside(side);
  UniqueFd listener(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any{domain == AF_INET ? IpAddress::v4(0, 0, 0, 0) : IpAddress{}, 0};
  const auto address = host::to_socket_address(any, domain, 0);
  host::set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(listener.get(), address.raw(), address.length) != 0 ||
      ::listen(listener.get(), 16) != 0)
    die("listener");
  return listener;
}

UniqueFd connect_to(const NetnsLab::Side& side, int domain, const Endpoint& remote) {
  const InNamespace inside(side);
  UniqueFd client(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = host::to_socket_address(remote, domain, side.ifindex);
  if (::connect(client.get(), address.raw(), address.length) != 0) die("connect");
  return client;
}

}  // namespace

WireTap::WireTap(const NetnsLab& net) : socket_(open_tap(net.right())) {}

std::vector<WireTap::Seen> WireTap::take() {
  std::vector<Seen> seen;
  Bytes frame(128 * 1024);
  while (true) {
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const ssize_t got = ::recvfrom(socket_.get(), frame.data(), frame.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &length);
    if (got <= 0) return seen;
    ParsedFrame parsed;
    if (parse_frame(std::span(frame).first(static_cast<std::size_t>(got)), 0, parsed) ==
        FrameVerdict::kTcp)
      seen.push_back({from.sll_pkttype != PACKET_OUTGOING, parsed.segment.flags,
                      parsed.segment.seg_seq, parsed.segment.payload.size(),
                      parsed.segment.options.ts_val});
  }
}

RingPair::RingPair(std::uint32_t size)
    : rx_bytes(size), tx_bytes(size), rx{rx_bytes.data(), size}, tx{tx_bytes.data(), size} {}

ParkingLab::ParkingLab() {
  const InNamespace inside(net_.left());
  injector_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!host::set_option(injector_.get(), SOL_SOCKET, SO_MARK,
                        static_cast<int>(steer::kReinjectMark)) ||
      !host::set_option(injector_.get(), SOL_PACKET, PACKET_VNET_HDR, 1))
    die("injecting socket");
  auto loaded = steer::Steering::load(64);
  if (!loaded) {
    std::fprintf(stderr, "parking lab: %s\n", loaded.error().message.c_str());
    std::abort();
  }
  steering_ = std::move(*loaded);
  if (const auto attached = steering_->attach(net_.left().ifindex); !attached) {
    std::fprintf(stderr, "parking lab: %s\n", attached.error().message.c_str());
    std::abort();
  }
}

Connection ParkingLab::connect_pair(Family family, bool host_is_client) {
  const NetnsLab::Side& server = host_is_client ? net_.right() : net_.left();
  const NetnsLab::Side& client = host_is_client ? net_.left() : net_.right();
  const bool mapped = family == Family::kMapped;
  const int server_domain = mapped && host_is_client ? AF_INET : domain_of(family);
  const int client_domain = mapped && !host_is_client ? AF_INET : domain_of(family);
  Connection c;
  c.listener = listen_on_all(server, server_domain);
  const auto bound = host::to_endpoint(*host::local_address(c.listener.get()));
  UniqueFd connected = connect_to(client, client_domain, endpoint_of(server, family, bound->port));
  UniqueFd accepted(::accept4(c.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!accepted.is_open()) die("accept");
  if (!host_is_client) std::swap(connected, accepted);
  c.host = std::move(connected);
  c.peer = std::move(accepted);
  c.tuple = {*host::to_endpoint(*host::local_address(c.host.get())),
             *host::to_endpoint(*host::remote_address(c.host.get()))};
  return c;
}

void ParkingLab::block_ingress(const Connection& c) {
  if (const auto set = steering_->set(c.tuple, steer::FlowSteering::kReturn, 0); !set)
    die(set.error().message.c_str());
}

Result<host::Parked> ParkingLab::park(const Connection& c, RingPair& rings) {
  open_holding_tap();
  for (const auto state : {steer::FlowSteering::kShadow, steer::FlowSteering::kHold})
    if (auto set = steering_->set(c.tuple, state, 0); !set) return Failure(set.error());
  auto parked = host::park(c.host.get(), rings.rx, RingPair::kRxBegin, rings.tx, RingPair::kTxEnd);
  if (!parked) {
    if (auto removed = steering_->remove(c.tuple); !removed) return Failure(removed.error());
    give_back_held_frames();
    return parked;
  }
  if (auto set = steering_->set(c.tuple, steer::FlowSteering::kActive, 0); !set)
    return Failure(set.error());
  return parked;
}

Result<host::Unparked> ParkingLab::unpark(const Connection& c, const host::Parked& parked,
                                          RingPair& rings) {
  if (auto set = steering_->set(c.tuple, steer::FlowSteering::kReturn, 0); !set)
    return Failure(set.error());
  auto unparked = host::unpark(c.host.get(), parked.state, parked.memo, rings.rx, parked.rx_range,
                               rings.tx, parked.tx_range);
  if (auto removed = steering_->remove(c.tuple); !removed) return Failure(removed.error());
  const std::vector<Bytes> held = take_held_frames();
  if (unparked && unparked->needs_forged_segment) {
    std::array<std::byte, kVnetHeader + 128> frame{};
    ConnectionState state = parked.state;
    state.cached.local_mac = net_.left().mac;
    state.cached.next_hop_mac = net_.right().mac;
    const std::size_t length =
        host::make_forged_segment(state, c.host.get(), std::span(frame).subspan(kVnetHeader));
    inject(std::span(frame).first(kVnetHeader + length));
  }
  for (const Bytes& each : held)
    inject(each);
  return unparked;
}

void ParkingLab::open_holding_tap() {
  tap_ = open_tap(net_.left());
  if (!host::set_option(tap_.get(), SOL_PACKET, PACKET_VNET_HDR, 1)) die("PACKET_VNET_HDR");
}

void ParkingLab::hold(const Connection& c) {
  open_holding_tap();
  if (const auto set = steering_->set(c.tuple, steer::FlowSteering::kHold, 0); !set)
    die(set.error().message.c_str());
}

void ParkingLab::release(const Connection& c) {
  if (const auto removed = steering_->remove(c.tuple); !removed)
    die(removed.error().message.c_str());
}

std::vector<Bytes> ParkingLab::take_held_frames() {
  std::vector<Bytes> held;
  Bytes frame(128 * 1024);
  while (true) {
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const ssize_t got = ::recvfrom(tap_.get(), frame.data(), frame.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &length);
    if (got <= 0) break;
    if (from.sll_pkttype == PACKET_HOST) held.emplace_back(frame.begin(), frame.begin() + got);
  }
  tap_.reset();
  return held;
}

// Which frames of the tap were kept from the host is not known here, so all are given back: what
// the host has seen already is a duplicate to it. All are taken first, for the tap sees them come
// again.
void ParkingLab::give_back_held_frames() {
  for (const Bytes& each : take_held_frames())
    inject(each);
}

// The frame goes out marked, and the egress program turns it round into the device's receive path.
void ParkingLab::inject(std::span<const std::byte> header_and_frame) {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_ifindex = static_cast<int>(net_.left().ifindex);
  if (::sendto(injector_.get(), header_and_frame.data(), header_and_frame.size(), 0,
               reinterpret_cast<sockaddr*>(&where), sizeof where) < 0)
    die("inject");
}

Bytes pattern(std::uint32_t seed, std::size_t length) {
  Bytes bytes(length);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

std::size_t fill(int fd, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent =
        ::send(fd, bytes.data() + done, bytes.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0) break;
    done += static_cast<std::size_t>(sent);
  }
  return done;
}

void write_all(int fd, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) die("send");
    done += static_cast<std::size_t>(sent);
  }
}

Bytes read_some(int fd, std::size_t length, int timeout_ms) {
  Bytes bytes(length);
  std::size_t done = 0;
  while (done < length) {
    pollfd readable{fd, POLLIN, 0};
    if (::poll(&readable, 1, timeout_ms) <= 0) break;
    const ssize_t got = ::recv(fd, bytes.data() + done, length - done, MSG_DONTWAIT);
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

bool is_at_end_of_file(int fd, int timeout_ms) {
  pollfd readable{fd, POLLIN, 0};
  std::byte byte{};
  return ::poll(&readable, 1, timeout_ms) > 0 && ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

std::uint8_t kernel_state(int fd) {
  tcp_info info{};
  return host::read_tcp_info(fd, info) ? info.tcpi_state : std::uint8_t{0};
}

bool wait_for_state(int fd, std::uint8_t state, int timeout_ms) {
  for (int waited = 0; waited < timeout_ms; ++waited) {
    if (kernel_state(fd) == state) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

namespace {

// One end of a Transfer.
class End {
 public:
  End(int fd, const Bytes& out, std::size_t expected, bool shuts)
      : fd_(fd), out_(out), shuts_(shuts) {
    in_.reserve(expected);
  }
  [[nodiscard]] bool is_done() const { return written_ == out_.size() && !shuts_ && at_end_; }
  [[nodiscard]] const Bytes& in() const { return in_; }
  [[nodiscard]] std::string progress() const {
    return "wrote " + std::to_string(written_) + " of " + std::to_string(out_.size()) + ", read " +
           std::to_string(in_.size()) + (at_end_ ? " and the end" : "");
  }
  [[nodiscard]] pollfd wanted() const {
    const bool writes = written_ < out_.size();
    return {fd_, static_cast<short>((at_end_ ? 0 : POLLIN) | (writes ? POLLOUT : 0)), 0};
  }
  void step() {
    written_ += fill(fd_, std::span(out_).subspan(written_));
    if (written_ == out_.size() && shuts_) shuts_ = ::shutdown(fd_, SHUT_WR) != 0;
    std::array<std::byte, 65536> buffer;
    while (!at_end_) {
      const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got < 0) return;
      at_end_ = got == 0;
      in_.insert(in_.end(), buffer.begin(), buffer.begin() + got);
    }
  }

 private:
  int fd_;
  const Bytes& out_;
  bool shuts_;
  std::size_t written_ = 0;
  Bytes in_;
  bool at_end_ = false;
};

testing::AssertionResult is_same(const char* whose, const Bytes& got, const Bytes& expected) {
  if (got == expected) return testing::AssertionSuccess();
  const auto limit = std::min(got.size(), expected.size());
  std::size_t first = 0;
  while (first < limit && got[first] == expected[first])
    ++first;
  return testing::AssertionFailure()
         << whose << " read " << got.size() << " bytes, " << expected.size()
         << " were sent, first difference at " << first;
}

}  // namespace

testing::AssertionResult finish(const Connection& c, const Transfer& transfer, int timeout_ms) {
  End host(c.host.get(), transfer.host_sends, transfer.host_expects.size(), transfer.host_shuts);
  End peer(c.peer.get(), transfer.peer_sends, transfer.peer_expects.size(), transfer.peer_shuts);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!host.is_done() || !peer.is_done()) {
    if (std::chrono::steady_clock::now() > deadline)
      return testing::AssertionFailure()
             << "not finished; host: " << host.progress() << "; peer: " << peer.progress();
    std::array<pollfd, 2> both{host.wanted(), peer.wanted()};
    ::poll(both.data(), both.size(), 20);
    host.step();
    peer.step();
  }
  if (auto same = is_same("the host", host.in(), transfer.host_expects); !same) return same;
  return is_same("the peer", peer.in(), transfer.peer_expects);
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes ring_bytes(const StreamRing& ring, const StreamRange& range) {
  Bytes bytes(range.length());
  ring.copy_out(range.begin, bytes);
  return bytes;
}

}  // namespace snp::test
