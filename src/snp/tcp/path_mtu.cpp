// Packetization-layer path MTU discovery (RFC 4821, 8899). The host follows ICMP and tells; here is
// what is done when ICMP never comes: a segment that goes unanswered again and again is tried in
// smaller pieces, and once those get through, larger ones are tried, one at a time, by data. The
// first is as large as what went unanswered: more often it was the path that lost everything for a
// while, and then nothing has changed.
#include <algorithm>
#include <utility>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint8_t kSuspectAfter = 3;     // timeouts; R1 of RFC 9293 3.8.3, as Linux
constexpr std::uint32_t kCloseEnough = 16;    // bytes: the search is over
constexpr std::uint32_t kFollowers = 4;       // segments behind a probe tell that it is lost
constexpr std::uint8_t kMaxProbes = 3;        // RFC 8899 5.1.2 MAX_PROBES, of a size
constexpr Duration kTryAgain = seconds(600);  // RFC 8899 5.1.1 PMTU_RAISE_TIMER
constexpr std::uint32_t kTimestampOption = 12;

}  // namespace

// Every path carries that much: 576 bytes of IPv4, 1280 of IPv6.
std::uint32_t Connection::least_mss() const noexcept {
  const std::uint32_t least = constant_.tuple.remote.address.is_v4() ? 536 : 1220;
  return least - (timestamps_ ? kTimestampOption : 0);
}

// RFC 5681 3.1: one full-sized segment. While the path is only suspected of losing such, these are
// as many bytes in smaller ones: where it was a burst of losses, the second may be the first that
// gets through, and each timeout less in the chain halves the silence.
std::uint32_t Connection::loss_window() const noexcept {
  return mss_limit_ == 0 ? snd_mss_ : std::max(snd_mss_, path_mss());
}

void Connection::suspect_black_hole(Instant now) noexcept {
  if (mtu_probe_ != 0) {  // a timeout decides nothing about it: it is tried again later
    mtu_probe_ = 0;
    next_mtu_probe_ = tries_full_mss_ ? kNever : now + kTryAgain;
  }
  const std::uint32_t least = least_mss();
  if (retransmits_ < kSuspectAfter || snd_mss_ <= least || board_.outstanding() <= least) return;
  if (mss_limit_ == 0) {
    mss_high_ = snd_mss_;
    tries_full_mss_ = true;
    mtu_probes_lost_ = 0;
  }
  mss_limit_ = std::max(snd_mss_ / 2, least);
  next_mtu_probe_ = kNever;  // until something gets through
  apply_cached();
}

void Connection::start_mtu_search(const MtuSearch& search, Instant now) noexcept {
  if (search.mss_limit == 0) return;
  mss_limit_ = std::max<std::uint32_t>(search.mss_limit, least_mss());
  mss_high_ = search.mss_high;
  mtu_probe_ = search.probe > mss_limit_ ? search.probe : 0;
  mtu_probe_end_ = search.probe_end;
  tries_full_mss_ = search.tries_high;
  mtu_probes_lost_ = std::min(search.probes_lost, kMaxProbes);
  if (search.next_probe_delta_ms >= 0)
    next_mtu_probe_ = now + milliseconds(search.next_probe_delta_ms);
}

MtuSearch Connection::export_mtu_search(Instant now) const noexcept {
  if (mss_limit_ == 0) return {};
  return {.mss_limit = static_cast<std::uint16_t>(mss_limit_),
          .mss_high = static_cast<std::uint16_t>(mss_high_),
          .probe = static_cast<std::uint16_t>(mtu_probe_),
          .probe_end = mtu_probe_end_,
          .tries_high = tries_full_mss_,
          .probes_lost = mtu_probes_lost_,
          .next_probe_delta_ms = remaining_ms(next_mtu_probe_, now)};
}

void Connection::forget_mss_limit() noexcept {
  mss_limit_ = mss_high_ = mtu_probe_ = 0;
  tries_full_mss_ = false;
  mtu_probes_lost_ = 0;
  next_mtu_probe_ = kNever;
}

// The size of a probe to be sent now; 0: none. Behind it enough must follow for its loss to be seen
// without a timeout (RFC 4821 7.5).
std::uint32_t Connection::mtu_probe_due(Instant now) const noexcept {
  if (mss_high_ == 0 || mtu_probe_ != 0 || now < next_mtu_probe_ || !sack_ ||
      recovery_ != Recovery::kOpen || sack_blocks_due() != 0)
    return 0;
  if (snd_mss_ + (tries_full_mss_ ? 1 : kCloseEnough) > mss_high_) return 0;
  const std::uint32_t size = tries_full_mss_ ? mss_high_ : (snd_mss_ + mss_high_ + 1) / 2;
  const std::uint32_t needed = size + kFollowers * snd_mss_;
  const bool has_window = snd_una_ + snd_wnd_ >= snd_nxt_ + needed;
  return unsent() >= needed && has_window && cc_.cwnd >= needed ? size : 0;
}

SegmentPlan Connection::make_mtu_probe(std::uint32_t size, Instant now) noexcept {
  SegmentPlan plan = make_plan(snd_nxt_, size, size, now);
  on_data_sent(plan, now);
  mtu_probe_ = size;
  mtu_probe_end_ = snd_nxt_;
  return plan;
}

// SND.UNA has moved: what is smaller gets through, and a probe that it has passed did.
void Connection::check_mtu_probe(Instant now) noexcept {
  if (next_mtu_probe_ == kNever) next_mtu_probe_ = now;
  if (mtu_probe_ == 0 || snd_una_ < mtu_probe_end_) return;
  if (tries_full_mss_) {  // nothing is wrong with it
    forget_mss_limit();
    apply_cached();
    return;
  }
  mss_limit_ = mtu_probe_;
  mtu_probe_ = mtu_probes_lost_ = 0;
  apply_cached();
  try_full_mss_later(now);
}

// Once what the path carries is found. It may become better some day.
void Connection::try_full_mss_later(Instant now) noexcept {
  if (snd_mss_ + kCloseEnough <= mss_high_) return;
  mss_high_ = path_mss();
  tries_full_mss_ = true;
  next_mtu_probe_ = now + kTryAgain;
}

// Pre: something is marked lost and a probe is out. True: it is the probe alone.
bool Connection::is_mtu_probe_lost(Instant now) noexcept {
  SeqNum from, to;
  if (!board_.first_lost(from, to) || from >= mtu_probe_end_ || to + mtu_probe_ <= mtu_probe_end_)
    return false;
  const bool is_alone = board_.lost_bytes() <= mtu_probe_;
  const std::uint32_t size = std::exchange(mtu_probe_, 0);
  if (++mtu_probes_lost_ < kMaxProbes) return is_alone;
  mss_high_ = size;
  mtu_probes_lost_ = 0;
  tries_full_mss_ = false;
  try_full_mss_later(now);
  return is_alone;
}

}  // namespace snp::tcp
