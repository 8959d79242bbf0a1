// rr_server PORT [--size 64] [--threads 1]
//
// The echo end of the request-response benchmark: an ordinary epoll server with non-blocking
// sockets that answers each message of --size bytes with the same bytes.
#include <cerrno>
#include <cstddef>
#include <memory>
#include <thread>

#include <sys/epoll.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace {

using namespace snp::peer;

struct Client {
  int fd = -1;
  std::size_t filled = 0;
  std::vector<std::byte> message;
};

class Server {
 public:
  Server(std::uint16_t port, std::size_t size, bool shared)
      : size_(size), listener_(listen_on(port, shared)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) fail("epoll_create1");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) fail("epoll_ctl");
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events{};
    for (;;) {
      const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      if (ready < 0 && errno != EINTR) fail("epoll_wait");
      for (int i = 0; i < ready; ++i) {
        auto* client = static_cast<Client*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (client == nullptr) {
          accept_all();
        } else if (!serve(*client)) {
          close(client->fd);
          delete client;
        }
      }
    }
  }

 private:
  void accept_all() const {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
        fail("accept4");
      }
      set_no_delay(fd);
      auto client = std::make_unique<Client>();
      client->fd = fd;
      client->message.resize(size_);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = client.get();
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
      static_cast<void>(client.release());  // the epoll set refers to it from now on
    }
  }

  // One read per readiness, as redis does. False: the connection is over.
  static bool serve(Client& client) {
    const auto got = read(client.fd, client.message.data() + client.filled,
                          client.message.size() - client.filled);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    client.filled += static_cast<std::size_t>(got);
    if (client.filled < client.message.size()) return true;
    client.filled = 0;
    // The client waits for the answer before it asks again, so there is always room for it.
    const auto sent = write(client.fd, client.message.data(), client.message.size());
    return sent == static_cast<ssize_t>(client.message.size());
  }

  std::size_t size_;
  int listener_;
  int epoll_;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const auto port = port_of(arguments.positional(0, "PORT"));
  const auto size = static_cast<std::size_t>(arguments.number("size", 64));
  const auto threads = arguments.number("threads", 1);
  std::vector<std::jthread> others;
  for (std::uint64_t i = 1; i < threads; ++i) {
    others.emplace_back([port, size] { Server(port, size, true).run(); });
  }
  Server(port, size, threads > 1).run();
}
