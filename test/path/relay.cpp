// snp_relay LEFT RIGHT [--forth CONFIG] [--back CONFIG] [--seed N]
//
// Joins two network devices and does to each frame what the path model says (path/impairment.h has
// the CONFIG): LEFT to RIGHT is `forth`. ARP and neighbour discovery pass unharmed. On SIGTERM or
// SIGINT it prints what it did, as one line of JSON. Segmentation and checksum offload must be off
// where the frames come from: what is longer than the device's MTU ends the program.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/bench/peer.h"
#include "test/path/frame_mark.h"
#include "test/path/impairment.h"
#include "test/path/in_flight.h"

namespace snp::path {
namespace {

using Frame = std::vector<std::byte>;

constexpr int kSocketBuffer = 32 << 20;
constexpr std::size_t kLongestFrame = 10'000;  // jumbo frames are the longest that pass

Instant now() {
  return Instant(Duration(static_cast<std::int64_t>(peer::now_ns())));
}

int open_port(const std::string& device) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) peer::fail("packet socket (needs root)");
  const int on = 1;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  if (address.sll_ifindex == 0) peer::fail("no device " + device);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    peer::fail("bind to " + device);
  return fd;
}

// One way through the relay.
class Direction {
 public:
  Direction(int from, int to, const LinkConfig& config) : from_(from), to_(to), model_(config) {}

  [[nodiscard]] int source() const { return from_; }
  [[nodiscard]] Instant next() const { return flight_.next_arrival(); }

  void receive(Random& random) {
    for (;;) {
      const ssize_t size = recv(from_, buffer_.data(), buffer_.size(), MSG_TRUNC);
      if (size < 0 && (errno == EAGAIN || errno == EINTR || errno == ENETDOWN)) return;
      if (size < 0) peer::fail("receive");
      if (static_cast<std::size_t>(size) > buffer_.size()) {
        errno = 0;
        peer::fail("a frame of " + std::to_string(size) +
                   " bytes: switch segmentation offload off at its sender");
      }
      take(std::span(buffer_).first(static_cast<std::size_t>(size)), random);
    }
  }

  void deliver(Instant until) {
    while (auto frame = flight_.pop(until)) {
      if (send(to_, frame->data(), frame->size(), 0) < 0) {
        if (errno != EAGAIN && errno != ENOBUFS && errno != ENETDOWN) peer::fail("send");
        ++refused_;
      }
    }
  }

  void print(const char* name) const {
    const auto& c = model_.counts();
    std::printf(
        "\"%s\": {\"packets\": %llu, \"lost\": %llu, \"overflowed\": %llu, \"reordered\": %llu, "
        "\"duplicated\": %llu, \"marked\": %llu, \"refused\": %llu, \"missed\": %u}",
        name, static_cast<unsigned long long>(c.packets), static_cast<unsigned long long>(c.lost),
        static_cast<unsigned long long>(c.overflowed), static_cast<unsigned long long>(c.reordered),
        static_cast<unsigned long long>(c.duplicated), static_cast<unsigned long long>(c.marked),
        static_cast<unsigned long long>(refused_), missed());
  }

 private:
  void take(std::span<const std::byte> bytes, Random& random) {
    const Instant t = now();
    if (!is_ip(bytes) || is_neighbour_discovery(bytes)) {
      flight_.push(Frame(bytes.begin(), bytes.end()), t);
      return;
    }
    const auto fate = model_.send(bytes.size(), is_ecn_capable(bytes), t, random);
    for (std::uint8_t i = 0; i < fate.copies; ++i) {
      Frame frame(bytes.begin(), bytes.end());
      if (fate.is_marked) set_congestion_experienced(frame);
      flight_.push(std::move(frame), fate.arrivals[i]);
    }
  }

  // Frames that the socket had no room for.
  [[nodiscard]] unsigned missed() const {
    tpacket_stats stats{};
    socklen_t size = sizeof stats;
    getsockopt(from_, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    return stats.tp_drops;
  }

  int from_;
  int to_;
  Impairment model_;
  InFlight<Frame> flight_;
  std::uint64_t refused_ = 0;
  std::array<std::byte, kLongestFrame> buffer_{};
};

timespec time_until(Instant next) {
  const auto ns = std::clamp<std::int64_t>((next - now()).count(), 0, 1'000'000'000);
  return {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
}

int open_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
  return signalfd(-1, &set, SFD_CLOEXEC);
}

LinkConfig config_of(const peer::Arguments& arguments, const char* name) {
  const std::string text = arguments.text(name, "delay_ms=0");
  const auto config = parse_link_config(text);
  if (!config) peer::fail(std::string("--") + name + ": not a path: " + text);
  return *config;
}

int run(const peer::Arguments& arguments) {
  const int left = open_port(arguments.positional(0, "LEFT"));
  const int right = open_port(arguments.positional(1, "RIGHT"));
  Random random(arguments.number("seed", 1));
  std::array<Direction, 2> ways{Direction(left, right, config_of(arguments, "forth")),
                                Direction(right, left, config_of(arguments, "back"))};
  const int signals = open_signals();
  // To be punctual among others; it sleeps whenever nothing is due.
  const sched_param priority{.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  prctl(PR_SET_TIMERSLACK, 1);
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    std::array<pollfd, 3> waiting{{{left, POLLIN, 0}, {right, POLLIN, 0}, {signals, POLLIN, 0}}};
    const timespec timeout = time_until(std::min(ways[0].next(), ways[1].next()));
    if (ppoll(waiting.data(), waiting.size(), &timeout, nullptr) < 0 && errno != EINTR)
      peer::fail("ppoll");
    if (waiting[2].revents != 0) break;
    for (Direction& way : ways)
      way.receive(random);
    for (Direction& way : ways)
      way.deliver(now());
  }
  std::printf("{");
  ways[0].print("forth");
  std::printf(", ");
  ways[1].print("back");
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace snp::path

int main(int argc, char** argv) {
  return snp::path::run(snp::peer::Arguments(argc, argv));
}
