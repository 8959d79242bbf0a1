#include "test/torture/waiter.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "test/bench/peer.h"

namespace snp::torture {
namespace {

class EpollWaiter : public Waiter {
 public:
  explicit EpollWaiter(bool edge) : edge_(edge), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) peer::fail("epoll_create1");
  }

  void wait(std::vector<Interest>& interests, int timeout_ms) override {
    registered_.resize(interests.size());
    for (std::size_t i = 0; i < interests.size(); ++i)
      follow(interests[i], i);
    std::array<epoll_event, 64> events{};
    const int ready =
        epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
    if (ready < 0 && errno != EINTR) peer::fail("epoll_wait");
    for (int e = 0; e < ready; ++e) {
      const epoll_event& event = events[static_cast<std::size_t>(e)];
      Interest& interest = interests[event.data.u64];
      if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) interest.can_read = true;
      if ((event.events & (EPOLLOUT | EPOLLERR)) != 0) interest.can_write = true;
    }
  }

 private:
  // Level: what is waited for just now. Edge: everything, once.
  void follow(const Interest& interest, std::size_t index) {
    std::uint32_t wanted = EPOLLET | EPOLLIN | EPOLLOUT;
    if (!edge_)
      wanted = (interest.wants_read ? EPOLLIN : 0u) | (interest.wants_write ? EPOLLOUT : 0u);
    Entry& entry = registered_[index];
    if (entry.is_in && entry.events == wanted) return;
    epoll_event event{};
    event.events = wanted;
    event.data.u64 = index;
    if (epoll_ctl(epoll_, entry.is_in ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, interest.fd, &event) != 0)
      peer::fail("epoll_ctl");
    entry = {true, wanted};
  }

  struct Entry {
    bool is_in = false;
    std::uint32_t events = 0;
  };
  bool edge_;
  int epoll_;
  std::vector<Entry> registered_;
};

class PollWaiter : public Waiter {
 public:
  void wait(std::vector<Interest>& interests, int timeout_ms) override {
    entries_.clear();
    for (const Interest& interest : interests) {
      const int events = (interest.wants_read ? POLLIN : 0) | (interest.wants_write ? POLLOUT : 0);
      entries_.push_back({events != 0 ? interest.fd : -1, static_cast<short>(events), 0});
    }
    if (poll(entries_.data(), entries_.size(), timeout_ms) < 0 && errno != EINTR)
      peer::fail("poll");
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if ((entries_[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) interests[i].can_read = true;
      if ((entries_[i].revents & (POLLOUT | POLLERR)) != 0) interests[i].can_write = true;
    }
  }

 private:
  std::vector<pollfd> entries_;
};

class SelectWaiter : public Waiter {
 public:
  void wait(std::vector<Interest>& interests, int timeout_ms) override {
    fd_set reads;
    fd_set writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    int highest = -1;
    for (const Interest& interest : interests) {
      if (interest.fd >= FD_SETSIZE) peer::fail("too many descriptors for select");
      if (interest.wants_read) FD_SET(interest.fd, &reads);
      if (interest.wants_write) FD_SET(interest.fd, &writes);
      highest = std::max(highest, interest.fd);
    }
    timeval timeout{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    if (select(highest + 1, &reads, &writes, nullptr, &timeout) < 0) {
      if (errno == EINTR) return;
      peer::fail("select");
    }
    for (Interest& interest : interests) {
      if (FD_ISSET(interest.fd, &reads)) interest.can_read = true;
      if (FD_ISSET(interest.fd, &writes)) interest.can_write = true;
    }
  }
};

}  // namespace

std::unique_ptr<Waiter> make_waiter(const std::string& style) {
  if (style == "level") return std::make_unique<EpollWaiter>(false);
  if (style == "edge") return std::make_unique<EpollWaiter>(true);
  if (style == "poll") return std::make_unique<PollWaiter>();
  if (style == "select") return std::make_unique<SelectWaiter>();
  return nullptr;
}

}  // namespace snp::torture
