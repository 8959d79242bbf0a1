#include "snp/switch/local.h"

#include <algorithm>

#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "snp/ipc/pair_stream.h"
#include "snp/switch/clock.h"
#include "snp/switch/pairs.h"
#include "snp/switch/stream.h"

namespace snp::switch_ {
namespace {

void ring_peer(Connection& c, ipc::LaneId id) noexcept {
  std::atomic<int>& known = c.ends.pair->peer_bells[id];
  if (known.load() == 0) read_control(*c.session);
  const int bell = known.load();
  if (bell > 0)
    write_bell(bell - 1);
  else if (bell == kNoBell)
    request_home(c, Why::kTooManyWaiters);
  // Else snpd has not passed the lane on yet: it will, and ring it.
}

bool has_unread(const Connection& c) noexcept {
  const auto n = unread(c);
  return !n.has_value() || *n != 0;
}

// As tcp_data_ready: below SO_RCVLOWAT nobody is woken.
bool is_enough(const Connection& c, std::uint32_t low_at) noexcept {
  const std::uint32_t size = c.ends.tx.size;
  const auto there = ipc::bytes_between(c.ends.tx_tail->load(), c.ends.tx_head->load(), size);
  return there.value_or(size) >= std::min(low_at, size / 2);
}

// Our names stand where we wrote them. A seat that is given out anew has none.
bool still_names(const Connection& c) noexcept {
  const auto& there = c.ends.mine->lanes;
  return std::equal(c.lanes.begin(), c.lanes.end(), there.begin(),
                    [](ipc::LaneId ours, const auto& word) { return word.load() == ours; });
}

}  // namespace

void begin_local(Connection& c, const ipc::PairEnd* before) noexcept {
  const Guard guard(c.watch_lock);
  c.tx_tail_seen = c.ends.tx_tail->load() & ~ipc::kFrozen;
  c.ends.mine->receive_buffer.store(c.slot->facts.options.receive_buffer);
  c.ends.mine->receive_low_at.store(c.slot->app.receive_low_at.load());
  if ((c.slot->app.flags.load() & ipc::slot_flag::kShutdownRead) != 0)
    static_cast<void>(ipc::add_flags(c.ends.mine->flags, ipc::pair_flag::kDeaf));
  if (before == c.ends.mine && still_names(c)) return;
  c.lanes = {};
  c.lane_users = {};
  c.local_error.store(0, std::memory_order_relaxed);
  c.is_broken.store(false, std::memory_order_relaxed);
  c.stall_tail.store(0, std::memory_order_relaxed);  // no position
}

std::uint32_t local_status(const Connection& c) noexcept {
  std::uint32_t status = c.slot->engine.status.load(std::memory_order_acquire);
  const std::uint32_t theirs = c.ends.theirs->flags.load(std::memory_order_acquire);
  if ((theirs & ipc::pair_flag::kEnd) != 0) status |= ipc::slot_status::kPeerClosed;
  if (local_error(c) != 0) status |= ipc::slot_status::kError;
  return status;
}

int local_error(const Connection& c) noexcept {
  if ((c.slot->engine.status.load(std::memory_order_acquire) & ipc::slot_status::kError) != 0)
    return c.slot->engine.error.load();
  if (const int error = c.local_error.load(std::memory_order_relaxed); error != 0) return error;
  const std::uint32_t theirs = c.ends.theirs->flags.load(std::memory_order_acquire);
  if ((theirs & ipc::pair_flag::kReset) == 0 || has_ended_both_ways(c)) return 0;
  return (theirs & ipc::pair_flag::kEnd) != 0 ? EPIPE : ECONNRESET;
}

void fail_local(Connection& c) noexcept {
  c.local_error.store(ECONNRESET, std::memory_order_relaxed);
  c.is_broken.store(true);
}

ipc::StreamsNow local_streams(const Connection& c) noexcept {
  const auto has_ended = [](const ipc::PairEnd& end) {
    return (end.flags.load() & ipc::pair_flag::kEnd) != 0;
  };
  const std::uint64_t written = ipc::position_of(c.ends.tx_head->load());
  return {ipc::position_of(c.ends.rx_head->load()), written, written, has_ended(*c.ends.theirs),
          has_ended(*c.ends.mine)};
}

bool must_pass_again(Connection& c) noexcept {
  if (mode_word(c) != c.ends.word.load(std::memory_order_relaxed)) return true;
  fail_local(c);
  return false;
}

bool has_ended_both_ways(const Connection& c) noexcept {
  return (c.ends.theirs->flags.load() & c.ends.mine->flags.load() & ipc::pair_flag::kEnd) != 0;
}

void tell_peer(Connection& c) noexcept {
  const RingEnds& e = c.ends;
  for (const auto& lane : e.theirs->lanes) {
    const ipc::LaneId id = lane.load();
    if (id == 0 || id >= ipc::kLanes) continue;
    if (ipc::tell(peer_lane(*e.pair, id), e.index)) ring_peer(c, id);
  }
}

bool draws_reset(Connection& c) noexcept {
  using namespace ipc::pair_flag;  // NOLINT(google-build-using-namespace)
  const std::uint32_t theirs = c.ends.theirs->flags.load();
  const bool is_deaf = (theirs & (kEnd | kDeaf)) == (kEnd | kDeaf);
  if ((theirs & kGone) == 0 && !is_deaf) [[likely]]
    return false;
  c.local_error.store((theirs & kEnd) != 0 ? EPIPE : ECONNRESET);
  // Also for snpd, which must not bring home what is over.
  if (ipc::add_flags(c.ends.mine->flags, kReset) && is_deaf) tell_peer(c);
  tell_watchers(c);
  return true;
}

void after_local_write(Connection& c) noexcept {
  ipc::PairEnd& mine = *c.ends.mine;
  const auto here = static_cast<std::uint32_t>(::sched_getcpu());
  if (mine.cpu.load(std::memory_order_relaxed) != here)
    mine.cpu.store(here, std::memory_order_relaxed);
  if (draws_reset(c)) [[unlikely]]  // it may have closed since we looked
    return;
  const std::uint32_t low_at = c.ends.theirs->receive_low_at.load();
  if (low_at <= 1 || is_enough(c, low_at)) tell_peer(c);
}

void after_local_read(Connection& c, std::uint32_t unread) noexcept {
  std::atomic<std::uint32_t>& wants = c.ends.theirs->wants_write;
  const std::uint32_t wanted = wants.load();
  if (wanted == 0 || unread > wanted - 1) [[likely]]
    return;
  if (wants.exchange(0) != 0) tell_peer(c);
}

bool shut_down_local(Connection& c, std::uint32_t slot_flags) noexcept {
  std::uint32_t flags = 0;
  if ((slot_flags & ipc::slot_flag::kShutdownWrite) != 0) flags |= ipc::pair_flag::kEnd;
  if ((slot_flags & ipc::slot_flag::kShutdownRead) != 0) flags |= ipc::pair_flag::kDeaf;
  const bool is_news = (flags & ~c.ends.mine->flags.load() & ipc::pair_flag::kEnd) != 0;
  if (!ipc::add_flags(c.ends.mine->flags, flags) && must_pass_again(c)) return false;
  if (is_news) tell_peer(c);
  return true;
}

bool close_local(Connection& c, bool abort) noexcept {
  using namespace ipc::pair_flag;  // NOLINT(google-build-using-namespace)
  auto& flags = c.ends.mine->flags;
  const bool was_over = local_tcp_state(c) == TCP_CLOSE;  // then nothing goes out any more
  bool resets = !was_over && (abort || has_unread(c));
  const std::uint32_t says = was_over ? 0 : resets ? kReset : kEnd;
  const bool had_ended = (flags.load() & kEnd) != 0;
  if (!ipc::add_flags(flags, kGone | says) && must_pass_again(c)) return false;
  // What came in the meantime was not read either.
  if (!resets && !was_over && has_unread(c)) resets = ipc::add_flags(flags, kReset);
  c.slot->app.flags.fetch_or(ipc::slot_flag::kClosed | (resets ? ipc::slot_flag::kAbort : 0));
  if (resets || (!was_over && !had_ended)) tell_peer(c);
  ring_control(*c.session, c.slot_id);
  return true;
}

std::uint8_t local_tcp_state(const Connection& c) noexcept {
  if (local_error(c) != 0 || has_ended_both_ways(c)) return TCP_CLOSE;
  if ((c.ends.theirs->flags.load() & ipc::pair_flag::kEnd) != 0) return TCP_CLOSE_WAIT;
  return (c.ends.mine->flags.load() & ipc::pair_flag::kEnd) != 0 ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
}

void look_at_peer(Connection& c, std::uint32_t word) noexcept {
  using namespace ipc::pair_flag;  // NOLINT(google-build-using-namespace)
  {
    const PassAt pass(c, word);
    if (!pass.is_inside() || !is_local(c)) return;
    ipc::PairEnd& theirs = *c.ends.theirs;
    const std::uint32_t flags = theirs.flags.load();
    if ((flags & kGone) != 0 || ipc::is_over(flags, c.ends.mine->flags.load()) ||
        !is_peer_dead(*c.ends.pair))
      return;
    const auto left =
        ipc::bytes_between(theirs.rx_tail.load(), c.ends.mine->tx_head.load(), c.ends.tx.size);
    const bool has_read_all = left.has_value() && *left == 0;
    if (!ipc::add_flags(theirs.flags, has_read_all ? kGone | kEnd : kGone | kReset)) return;
  }
  tell_watchers(c);
}

std::uint32_t local_limit(const Connection& c) noexcept {
  // The kernel doubles what the user asks for; a receive buffer that nobody chose begins with this.
  constexpr std::uint64_t kInitialReceiveBuffer = 128 * 1024;
  const std::uint64_t send = c.slot->facts.options.send_buffer;
  if (send == 0) return c.ends.tx.size;
  const std::uint64_t receive = c.ends.theirs->receive_buffer.load(std::memory_order_relaxed);
  const std::uint64_t most = 2 * send + (receive != 0 ? 2 * receive : kInitialReceiveBuffer);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(most, c.ends.tx.size));
}

void note_stall(Connection& c) noexcept {
  const std::uint64_t tail = c.ends.tx_tail->load() & ~ipc::kFrozen;
  const Instant::rep t = coarse_now().time_since_epoch().count();
  if (c.stall_tail.exchange(tail) != tail) {
    c.stall_since.store(t);
  } else if (t - c.stall_since.load() >= kStallPatience.count()) {
    request_home(c, Why::kRingFull);
  }
}

bool is_stalled(Connection& c) noexcept {
  const std::uint32_t word = mode_word(c);
  if (ipc::mode_of(word) != ipc::SlotMode::kOffloaded || c.slot->engine.pair == ipc::kNoPair)
    return false;
  const PassAt pass(c, word);
  if (!pass.is_inside() || (readiness(c) & EPOLLOUT) != 0) return false;
  note_stall(c);
  return true;
}

bool watch_lane(Connection& c, ipc::LaneId id) noexcept {
  const Guard guard(c.watch_lock);
  std::size_t place = c.lanes.size();
  for (std::size_t i = 0; i < c.lanes.size(); ++i) {
    if (c.lanes[i] == id) {
      ++c.lane_users[i];
      if (c.ends.mine->lanes[i].load() != id) c.ends.mine->lanes[i].store(id);
      return true;
    }
    // A name that is not in use any more goes first: its waiter would be woken for nothing.
    const bool is_stale = c.lanes[i] != 0 && c.lane_users[i] == 0;
    if (is_stale || (c.lanes[i] == 0 && place == c.lanes.size())) place = i;
  }
  if (place == c.lanes.size()) return false;
  c.lanes[place] = id;
  c.lane_users[place] = 1;
  c.ends.mine->lanes[place].store(id);
  return true;
}

void unwatch_lane(Connection& c, std::uint32_t word, ipc::LaneId id, Keep keep) noexcept {
  const PassAt pass(c, word);
  const Guard guard(c.watch_lock);
  if (!pass.is_inside() || c.ends.word.load() != word) return;
  for (std::size_t i = 0; i < c.lanes.size(); ++i) {
    if (c.lanes[i] != id || c.lane_users[i] == 0) continue;
    if (--c.lane_users[i] != 0 || keep == Keep::kYes) return;
    c.lanes[i] = 0;
    c.ends.mine->lanes[i].store(0);
    return;
  }
}

}  // namespace snp::switch_
