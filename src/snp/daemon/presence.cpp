#include "snp/daemon/presence.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "snp/base/assert.h"
#include "snp/engine/clock.h"

namespace snp::daemon {

Result<std::unique_ptr<Presence>> Presence::open(EventLoop& loop,
                                                 const std::set<std::uint32_t>& devices, Acts acts,
                                                 Delays delays) {
  std::unique_ptr<Presence> self(new Presence(loop, devices, std::move(acts), delays));
  self->done_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->done_.is_open()) return fail_errno("cannot make an eventfd");
  if (auto added =
          loop.add(self->done_.get(), EPOLLIN, [p = self.get()](std::uint32_t) { p->on_done(); });
      !added)
    return tl::unexpected(added.error());
  return self;
}

Presence::Presence(EventLoop& loop, const std::set<std::uint32_t>& devices, Acts acts,
                   Delays delays)
    : loop_(loop), acts_(std::move(acts)), delays_(delays) {
  for (const std::uint32_t ifindex : devices)
    sites_[ifindex];
}

Presence::~Presence() {
  stop();
  if (done_.is_open()) loop_.remove(done_.get());
}

void Presence::stop() {
  is_stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

Presence::Answer Presence::want(std::uint32_t ifindex) {
  const auto found = sites_.find(ifindex);
  if (found == sites_.end() || is_stopped_) return Answer::kFailed;
  switch (const Site& site = found->second; site.state) {
    case State::kHere:
      return Answer::kHere;
    case State::kComing:
      return Answer::kComing;
    case State::kFailed:
      if (engine::monotonic_now() - site.tried < delays_.retry) return Answer::kFailed;
      [[fallthrough]];
    case State::kAway:
    case State::kGoing:
      break;
  }
  if (thread_.joinable())
    is_wanted_ = true;
  else
    begin_coming();
  return Answer::kComing;
}

void Presence::come_now() {
  for (auto& [ifindex, site] : sites_)
    came({ifindex, acts_.come(ifindex)});
  schedule_leaving();
}

void Presence::let_go() {
  SNP_ASSERT(flows_ > 0);
  if (--flows_ == 0) schedule_leaving();
}

void Presence::schedule_leaving() {
  empty_since_ = engine::monotonic_now();
  loop_.call_at(empty_since_ + delays_.linger, [this] { leave_if_due(); });
}

void Presence::leave_if_due() {
  if (is_stopped_ || thread_.joinable() || flows_ != 0) return;
  if (engine::monotonic_now() - empty_since_ < delays_.linger) return;  // another is scheduled
  begin(State::kHere, State::kGoing, acts_.go);
}

void Presence::begin_coming() {
  is_wanted_ = false;
  const Instant now = engine::monotonic_now();
  for (auto& [ifindex, site] : sites_)
    if (site.state == State::kFailed && now - site.tried >= delays_.retry)
      site.state = State::kAway;
  begin(State::kAway, State::kComing, acts_.come);
}

// One act for every device in that state, on the thread.
void Presence::begin(State from, State to, const std::function<Result<>(std::uint32_t)>& act) {
  outcomes_.clear();
  for (auto& [ifindex, site] : sites_) {
    if (site.state != from) continue;
    site.state = to;
    outcomes_.push_back({ifindex, {}});
  }
  if (outcomes_.empty()) return;
  thread_ = std::thread([this, &act] {
    for (Outcome& outcome : outcomes_)
      outcome.result = act(outcome.ifindex);
    const std::uint64_t one = 1;
    std::ignore = ::write(done_.get(), &one, sizeof one);
  });
}

void Presence::on_done() {
  std::uint64_t rung = 0;
  std::ignore = ::read(done_.get(), &rung, sizeof rung);
  if (!thread_.joinable()) return;
  thread_.join();
  bool is_somebody_waiting = is_wanted_;
  for (const Outcome& outcome : outcomes_) {
    if (sites_[outcome.ifindex].state == State::kComing) {
      is_somebody_waiting = true;
      came(outcome);
    } else {
      went(outcome);
    }
  }
  if (is_wanted_) begin_coming();
  if (thread_.joinable() || !is_somebody_waiting) return;
  if (flows_ == 0) schedule_leaving();  // whoever wanted it may think again
  if (changed_) changed_();
}

void Presence::came(const Outcome& outcome) {
  Site& site = sites_[outcome.ifindex];
  site.tried = engine::monotonic_now();
  site.state = outcome.result ? State::kHere : State::kFailed;
  const std::string error = outcome.result ? std::string() : outcome.result.error().message;
  if (std::exchange(site.error, error) != error && !error.empty())
    spdlog::error("connections stay in the host: {}", error);
}

// What could not be taken off is there: it is tried again after the next flow.
void Presence::went(const Outcome& outcome) {
  sites_[outcome.ifindex].state = outcome.result ? State::kAway : State::kHere;
  if (!outcome.result) spdlog::debug("steering stays: {}", outcome.result.error().message);
}

}  // namespace snp::daemon
