// rr_client HOST PORT [--connections 1] [--size 64] [--seconds 3] [--warmup 0.5]
//           [--zipf S --outstanding 32] [--window SECONDS]
//
// Closed loop request-response: each connection sends a message of --size bytes, waits for the
// same bytes back, sends the next. With --zipf so many requests are outstanding, and each answer is
// followed by a request on a connection drawn by that law, the first the most frequent. Prints one
// line of JSON about the time after the warm-up; with --window one for each part of it, too.
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace {

using namespace snp::peer;

struct Connection {
  int fd = -1;
  bool is_asked = false;
  std::size_t filled = 0;
  std::uint64_t sent_at = 0;
  std::vector<std::byte> request, answer;
};

class Client {
 public:
  explicit Client(const Arguments& arguments)
      : host_(arguments.positional(0, "HOST")),
        port_(port_of(arguments.positional(1, "PORT"))),
        size_(static_cast<std::size_t>(arguments.number("size", 64))),
        connections_(static_cast<std::size_t>(arguments.number("connections", 1))),
        seconds_(arguments.real("seconds", 3)),
        warmup_(arguments.real("warmup", 0.5)),
        window_(arguments.real("window", 0)),
        outstanding_(arguments.number("outstanding", 32)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (size_ < sizeof(std::uint64_t)) fail("--size must be at least 8");
    if (epoll_ < 0) fail("epoll_create1");
    if (const double s = arguments.real("zipf", 0); s > 0) {
      std::vector<double> weights;
      for (std::size_t rank = 1; rank <= connections_.size(); ++rank)
        weights.push_back(std::pow(static_cast<double>(rank), -s));
      zipf_.emplace(weights.begin(), weights.end());
    }
  }

  void open() {
    for (auto& c : connections_) {
      c.fd = connect_to(host_, port_);
      set_non_blocking(c.fd);
      c.request.resize(size_);
      c.answer.resize(size_);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &c;
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) fail("epoll_ctl");
    }
  }

  void run() {
    if (zipf_) {
      for (std::uint64_t i = 0; i < outstanding_; ++i)
        ask_somebody(now_ns());
    } else {
      for (auto& c : connections_)
        ask(c, now_ns());
    }
    run_for(warmup_);
    measuring_ = true;
    const double cpu = cpu_seconds();
    const std::uint64_t start = now_ns();
    if (window_ > 0) {
      for (double done = 0; done < seconds_; done += window_) {
        Histogram whole;
        std::swap(window_latencies_, whole);
        run_for(window_);
        std::printf("{\"at\": %.2f, \"requests\": %.0f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
                    done, static_cast<double>(window_latencies_.count()),
                    window_latencies_.quantile_us(0.5), window_latencies_.quantile_us(0.99));
      }
    } else {
      run_for(seconds_);
    }
    const double elapsed = static_cast<double>(now_ns() - start) * 1e-9;
    const auto requests = static_cast<double>(latencies_.count());
    std::printf(
        "{\"connections\": %zu, \"size\": %zu, \"seconds\": %.3f, \"requests\": %.0f, "
        "\"requests_per_second\": %.1f, "
        "\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"cpu_seconds\": %.4f}\n",
        connections_.size(), size_, elapsed, requests, requests / elapsed,
        latencies_.quantile_us(0.5), latencies_.quantile_us(0.99), latencies_.quantile_us(0.999),
        cpu_seconds() - cpu);
  }

 private:
  void run_for(double seconds) {
    const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    std::array<epoll_event, 256> events{};
    std::uint64_t answered_before = answered_;
    while (now_ns() < end) {
      const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 5000);
      if (ready < 0 && errno != EINTR) fail("epoll_wait");
      if (ready == 0 && answered_ == answered_before) fail("no answer for 5 s");
      answered_before = answered_;
      for (int i = 0; i < ready; ++i) {
        hear(*static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr));
      }
    }
  }

  // On a connection that waits for nothing: the first such from where the law says.
  void ask_somebody(std::uint64_t now) {
    std::size_t i = (*zipf_)(random_);
    while (connections_[i].is_asked)
      i = (i + 1) % connections_.size();
    ask(connections_[i], now);
  }

  void ask(Connection& c, std::uint64_t now) {
    c.is_asked = true;
    ++serial_;
    std::memcpy(c.request.data(), &serial_, sizeof serial_);
    c.sent_at = now;
    const auto sent = write(c.fd, c.request.data(), size_);
    if (sent != static_cast<ssize_t>(size_)) fail("write");
  }

  void hear(Connection& c) {
    const auto got = read(c.fd, c.answer.data() + c.filled, size_ - c.filled);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      if (got == 0) errno = 0;
      fail("the server closed the connection");
    }
    c.filled += static_cast<std::size_t>(got);
    if (c.filled < size_) return;
    c.filled = 0;
    ++answered_;
    if (c.answer != c.request) {
      errno = 0;
      fail("the answer differs from the request");
    }
    const std::uint64_t now = now_ns();
    if (measuring_) latencies_.add(now - c.sent_at);
    if (measuring_ && window_ > 0) window_latencies_.add(now - c.sent_at);
    c.is_asked = false;
    if (zipf_)
      ask_somebody(now);
    else
      ask(c, now);
  }

  std::string host_;
  std::uint16_t port_;
  std::size_t size_;
  std::vector<Connection> connections_;
  double seconds_, warmup_, window_;
  std::uint64_t outstanding_;
  std::optional<std::discrete_distribution<std::size_t>> zipf_;
  std::mt19937_64 random_{1};
  int epoll_;
  bool measuring_ = false;
  std::uint64_t serial_ = 0, answered_ = 0;
  Histogram latencies_, window_latencies_;
};

}  // namespace

int main(int argc, char** argv) {
  Client client{Arguments(argc, argv)};
  client.open();
  client.run();
}
