#include "test/script/packet_text.h"

#include <array>

namespace snp::script {
namespace {

bool has_same_options(const Packet& expected, const TcpOptions& came, const Endpoint& endpoint,
                      const Tolerance& tolerance) {
  if (expected.how_options == Packet::Options::kAny) return true;
  const TcpOptions& want = expected.options;
  if (want.has_timestamps != came.has_timestamps || want.sack_count != came.sack_count)
    return false;
  if (want.has_timestamps &&
      (came.ts_val - want.ts_val > tolerance.ts_ticks || came.ts_ecr != want.ts_ecr))
    return false;
  for (std::size_t i = 0; i < want.sack_count; ++i) {
    const SackBlock block{endpoint.peers(want.sack[i].start.value()),
                          endpoint.peers(want.sack[i].end.value())};
    if (came.sack[i] != block) return false;
  }
  return true;
}

}  // namespace

std::string time_text(Duration since_start) {
  const auto us = since_start / microseconds(1);
  const std::string fraction = std::to_string(1'000'000 + us % 1'000'000).substr(1);
  const std::size_t digits = fraction.find_last_not_of('0');
  return std::to_string(us / 1'000'000) +
         (digits == std::string::npos ? "" : "." + fraction.substr(0, digits + 1));
}

std::string packet_text(const tcp::SegmentPlan& plan, const Endpoint& endpoint) {
  constexpr std::string_view kLetters = "FSRP.UEW";
  const std::uint32_t seq = plan.seq - endpoint.ours(0);
  std::string out = plan.is_ect ? "> [ect0] " : "> ";
  for (std::size_t bit = 0; bit < kLetters.size(); ++bit)
    if ((plan.flags >> bit & 1) != 0) out += kLetters[bit];
  out += " " + std::to_string(seq) + ":" + std::to_string(seq + plan.payload_len) + "(" +
         std::to_string(plan.payload_len) + ")";
  if ((plan.flags & TcpFlags::kAck) != 0)
    out += " ack " + std::to_string(plan.ack - endpoint.peers(0));
  out += " win " + std::to_string(plan.wnd);
  if (plan.payload_len > plan.gso_size) out += " gso " + std::to_string(plan.gso_size);
  const TcpOptions& options = plan.options;
  std::string list;
  if (options.has_timestamps)
    list = "TS val " + std::to_string(options.ts_val) + " ecr " + std::to_string(options.ts_ecr);
  if (options.sack_count != 0) list += list.empty() ? "sack" : ",sack";
  for (std::size_t i = 0; i < options.sack_count; ++i)
    list += " " + std::to_string(options.sack[i].start - endpoint.peers(0)) + ":" +
            std::to_string(options.sack[i].end - endpoint.peers(0));
  return list.empty() ? out : out + " <" + list + ">";
}

std::string difference_of(const Packet& expected, const tcp::SegmentPlan& plan,
                          const Endpoint& endpoint, const Tolerance& tolerance) {
  std::string out;
  const auto note = [&](bool differs, const char* name) {
    if (differs) out += (out.empty() ? "" : ", ") + std::string(name);
  };
  // A reset carries an ACK always here; `R` without `.` would be another segment.
  note(plan.flags != expected.flags, "flags");
  note(plan.seq != endpoint.ours(expected.seq), "sequence");
  note(plan.payload_len != expected.length, "length");
  note(expected.ack && plan.ack != endpoint.peers(*expected.ack), "ack");
  if (tolerance.is_owed_ack) return out;
  note(expected.wnd && plan.wnd != *expected.wnd, "win");
  note(expected.gso.value_or(0) != (plan.payload_len > plan.gso_size ? plan.gso_size : 0), "gso");
  note(!has_same_options(expected, plan.options, endpoint, tolerance), "options");
  note(expected.ecn != Packet::Ecn::kNotSaid && plan.is_ect != (expected.ecn == Packet::Ecn::kEct0),
       "ECN field");
  return out;
}

}  // namespace snp::script
