#include "snp/host/traced_watch.h"

#include <sys/epoll.h>

namespace snp::host {

TracedWatch::TracedWatch(UniqueFd epoll, const OpenCalls& open_calls) : epoll_(std::move(epoll)) {
  auto opened = open_calls();
  if (!opened) return;
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, (*opened)->fd(), &event) == 0)
    calls_ = std::move(*opened);
}

}  // namespace snp::host
