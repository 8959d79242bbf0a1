#include "test/sim/link.h"

#include <algorithm>
#include <utility>

namespace snp::sim {
namespace {

constexpr std::uint32_t kHeaderBytes = 66;  // Ethernet, IPv4, TCP with timestamps

constexpr int kLongestBurst = 4;

constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.arrival != b.arrival ? a.arrival > b.arrival : a.order > b.order;
};

}  // namespace

void Link::push(Packet packet, Instant arrival) {
  flights_.push_back({arrival, order_++, std::move(packet)});
  std::push_heap(flights_.begin(), flights_.end(), kLater);
}

bool Link::send(Packet packet, Instant now, Random& random) {
  // Bounded: a connection may give up after 15 attempts, and would be right to.
  if (burst_left_ != 0)
    burst_left_ = happens(random, config_.burst_end) ? 0 : burst_left_ - 1;
  else if (happens(random, config_.burst_begin))
    burst_left_ = kLongestBurst;
  if (burst_left_ != 0 || happens(random, config_.loss)) {
    ++dropped_;
    return false;
  }
  Instant departure = now;
  if (config_.rate_bps > 0) {
    free_at_ = std::max(free_at_, now);
    const double waiting =
        std::chrono::duration<double>(free_at_ - now).count() * config_.rate_bps / 8;
    if (config_.queue_bytes != 0 && waiting > config_.queue_bytes) {
      ++dropped_;
      return false;
    }
    const double bits = 8.0 * static_cast<double>(packet.bytes.size() + kHeaderBytes);
    free_at_ += Duration(static_cast<std::int64_t>(bits / config_.rate_bps * 1e9));
    departure = free_at_;
  }
  if (packet.is_ect && happens(random, config_.mark)) packet.segment.is_ce = true;
  Instant arrival = departure + config_.delay;
  if (happens(random, config_.reorder)) {
    std::uniform_int_distribution<std::int64_t> extra(0, config_.reorder_delay.count());
    arrival += Duration(extra(random));
  }
  if (happens(random, config_.duplicate)) push(packet, arrival + microseconds(1));
  push(std::move(packet), arrival);
  return true;
}

const Packet* Link::peek(Instant now) const {
  if (flights_.empty() || flights_.front().arrival > now) return nullptr;
  return &flights_.front().packet;
}

std::optional<Packet> Link::receive(Instant now) {
  if (peek(now) == nullptr) return std::nullopt;
  std::pop_heap(flights_.begin(), flights_.end(), kLater);
  Packet packet = std::move(flights_.back().packet);
  flights_.pop_back();
  return packet;
}

Instant Link::next_arrival() const {
  return flights_.empty() ? kNever : flights_.front().arrival;
}

}  // namespace snp::sim
