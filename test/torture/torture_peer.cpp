// torture_peer listen PORT        --connections N --seed S [--style level] [--rate BYTES]
// torture_peer connect HOST PORT  --connections N --seed S [--style level] [--rate BYTES]
//
// Sends and checks pseudo-random streams both ways on N connections until the connecting end gets
// SIGTERM; then both ends finish with a half-close each and print one line of JSON. A wrong byte, a
// reset, an early end of file end the program with status 1 at once. --style says how it waits:
// level, edge (epoll), poll, select, or blocking (two threads for each connection).
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <thread>

#include <signal.h>
#include <unistd.h>

#include "test/bench/peer.h"
#include "test/torture/connection.h"
#include "test/torture/waiter.h"

namespace {

using namespace snp::torture;
using snp::peer::Arguments;
using snp::peer::fail;
using snp::peer::now_ns;

using Connections = std::vector<std::unique_ptr<Connection>>;
using std::chrono::nanoseconds;

std::atomic<bool> must_stop{false};  // NOLINT: set by the signal handler

void on_terminate(int /*signal*/) {
  must_stop.store(true);
}

struct Options {
  std::size_t connections;
  std::uint64_t seed;
  std::string style;
  double rate;
};

// Watches from a thread of its own: the longest time that a receiver waited for a byte. Time in
// which this thread itself got no processor is not counted: a starved machine is not a stall.
class StallWatch {
 public:
  explicit StallWatch(const Connections& connections)
      : connections_(connections), waits_(connections.size()) {}

  void run(const std::stop_token& token) {
    std::uint64_t last = now_ns();
    while (!token.stop_requested()) {
      std::this_thread::sleep_for(nanoseconds(kPeriod));
      const std::uint64_t now = now_ns();
      starved_ += now - last > 2 * kPeriod ? now - last - kPeriod : 0;
      last = now;
      for (std::size_t i = 0; i < connections_.size(); ++i)
        look_at(*connections_[i], waits_[i], now);
    }
  }

  [[nodiscard]] double longest_ms() const noexcept { return static_cast<double>(longest_) * 1e-6; }
  [[nodiscard]] double starved_ms() const noexcept { return static_cast<double>(starved_) * 1e-6; }
  [[nodiscard]] std::uint32_t worst() const noexcept { return worst_; }

 private:
  static constexpr std::uint64_t kPeriod = 5'000'000;
  static constexpr std::uint64_t kStall = 1'000'000'000;

  struct Wait {
    std::uint64_t since = 0, starved_then = 0;
    std::uint64_t to_be_told = kStall;  // when it is as long as this
  };

  void look_at(const Connection& c, Wait& wait, std::uint64_t now) {
    if (c.is_received()) return;
    if (wait.since != c.content_at()) {
      wait = {c.content_at(), starved_};
      return;
    }
    if (now < wait.since) return;
    const std::uint64_t waited = now - wait.since;
    const std::uint64_t excuse = starved_ - wait.starved_then;
    if (waited <= excuse) return;
    // Say it while it lasts, so that whoever watches can look at the connection.
    if (waited - excuse >= wait.to_be_told) {
      std::fprintf(stderr, "stall: connection %u has waited %llu ms for byte %llu\n", c.id(),
                   static_cast<unsigned long long>((waited - excuse) / 1'000'000),
                   static_cast<unsigned long long>(c.received()));
      wait.to_be_told += kStall;
    }
    if (waited - excuse <= longest_) return;
    longest_ = waited - excuse;
    worst_ = c.id();
  }

  const Connections& connections_;
  std::vector<Wait> waits_;
  std::uint64_t longest_ = 0, starved_ = 0;
  std::uint32_t worst_ = 0;
};

// The first four bytes of a connection are its number. They come back when the listening end has
// all connections: then both begin.
Connections connect_all(const Arguments& arguments, const Options& options) {
  Connections all;
  for (std::uint32_t id = 0; id < options.connections; ++id) {
    const int fd = snp::peer::connect_to(arguments.positional(1, "HOST"),
                                         snp::peer::port_of(arguments.positional(2, "PORT")));
    if (write(fd, &id, sizeof id) != sizeof id) fail("write of the greeting");
    all.push_back(std::make_unique<Connection>(fd, id, false, options.seed, options.rate));
  }
  for (const auto& c : all) {
    std::uint32_t id = 0;
    if (recv(c->fd(), &id, sizeof id, MSG_WAITALL) != sizeof id || id != c->id())
      fail("read of the answer");
  }
  return all;
}

Connections accept_all(const Arguments& arguments, const Options& options) {
  Connections all;
  const int listener = snp::peer::listen_on(snp::peer::port_of(arguments.positional(1, "PORT")));
  while (all.size() < options.connections) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED) fail("accept4");
      usleep(1000);
      continue;
    }
    snp::peer::set_no_delay(fd);
    std::uint32_t id = 0;
    if (recv(fd, &id, sizeof id, MSG_WAITALL) != sizeof id) fail("read of the greeting");
    all.push_back(std::make_unique<Connection>(fd, id, true, options.seed, options.rate));
  }
  close(listener);
  for (const auto& c : all)
    if (const std::uint32_t id = c->id(); write(c->fd(), &id, sizeof id) != sizeof id)
      fail("write of the answer");
  return all;
}

void finish_if_told(Connection& c, bool listening) {
  if (listening ? c.is_received() : must_stop.load(std::memory_order_relaxed)) c.stop();
}

// One thread for all connections.
void run_events(Connections& all, bool listening, Waiter& waiter, bool edge) {
  std::vector<Interest> interests(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    snp::peer::set_non_blocking(all[i]->fd());
    interests[i] = {all[i]->fd(), true, false, false, true};
  }
  for (bool busy = true; !std::all_of(all.begin(), all.end(), [](const auto& c) {
         return c->is_sent() && c->is_received();
       });) {
    waiter.wait(interests, busy ? 0 : 2);
    busy = false;
    const std::uint64_t now = now_ns();
    for (std::size_t i = 0; i < all.size(); ++i) {
      Connection& c = *all[i];
      Interest& interest = interests[i];
      finish_if_told(c, listening);
      if (interest.can_read) {
        const Step step = c.receive_step(now);
        // With edges readiness holds until the socket says EAGAIN; with levels it is told again.
        if (!edge || step == Step::kBlocked || step == Step::kDone) interest.can_read = false;
        busy |= step == Step::kMoved;
      }
      interest.wants_read = !c.is_received() && now >= c.receive_at();
      if (interest.can_write) {
        const Step step = c.send_step(now);
        if (step == Step::kBlocked || step == Step::kDone) interest.can_write = false;
        busy |= step == Step::kMoved;
      }
      interest.wants_write = !c.is_sent() && !interest.can_write;
    }
  }
}

template <class StepFunction, class AtFunction>
void run_blocking_direction(StepFunction step, AtFunction at) {
  for (;;) {
    const std::uint64_t now = now_ns();
    if (at() > now) std::this_thread::sleep_for(nanoseconds(at() - now));
    if (step(now_ns()) == Step::kDone) return;
  }
}

// Two threads for each connection, blocking calls.
void run_blocking(Connections& all, bool listening) {
  std::vector<std::jthread> threads;
  for (auto& connection : all) {
    Connection* c = connection.get();
    threads.emplace_back([c] {
      run_blocking_direction([c](std::uint64_t now) { return c->receive_step(now); },
                             [c] { return c->receive_at(); });
    });
    threads.emplace_back([c, listening] {
      run_blocking_direction(
          [c, listening](std::uint64_t now) {
            finish_if_told(*c, listening);
            return c->send_step(now);
          },
          [c] { return c->send_at(); });
    });
  }
}

void print_result(const Connections& all, const StallWatch& watch) {
  std::printf(
      "{\"longest_wait_ms\": %.1f, \"longest_wait_of\": %u, \"starved_ms\": %.1f, "
      "\"connections\": {",
      watch.longest_ms(), watch.worst(), watch.starved_ms());
  const char* separator = "";
  for (const auto& c : all) {
    std::printf("%s\"%u\": {\"sent\": %llu, \"received\": %llu}", separator, c->id(),
                static_cast<unsigned long long>(c->sent()),
                static_cast<unsigned long long>(c->received()));
    separator = ", ";
  }
  std::printf("}}\n");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const bool listening = arguments.positional(0, "listen|connect") == "listen";
  const Options options{static_cast<std::size_t>(arguments.number("connections", 64)),
                        arguments.number("seed", 1), arguments.text("style", "level"),
                        arguments.real("rate", 1e6)};
  struct sigaction action {};
  action.sa_handler = on_terminate;
  if (sigaction(SIGTERM, &action, nullptr) != 0) fail("sigaction");

  Connections all = listening ? accept_all(arguments, options) : connect_all(arguments, options);
  for (const auto& c : all)
    c->begin(now_ns());
  StallWatch watch(all);
  {
    const std::jthread watcher([&watch](const std::stop_token& token) { watch.run(token); });
    if (options.style == "blocking") {
      run_blocking(all, listening);
    } else {
      const auto waiter = make_waiter(options.style);
      if (waiter == nullptr) fail("unknown --style " + options.style);
      run_events(all, listening, *waiter, options.style == "edge");
    }
  }
  for (const auto& c : all)
    close(c->fd());
  print_result(all, watch);
}
