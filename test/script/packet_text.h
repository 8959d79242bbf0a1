// Segments that were sent, in the words of a script, and compared with it.
#pragma once

#include <string>

#include "test/script/endpoint.h"
#include "test/script/script.h"

namespace snp::script {

std::string time_text(Duration since_start);                                      // 0.300
std::string packet_text(const tcp::SegmentPlan& plan, const Endpoint& endpoint);  // > P. 1:2(1) ...

// How far a segment may differ after hand-overs.
struct Tolerance {
  std::uint32_t ts_ticks = 0;  // our timestamps may be ahead by this much
  bool is_owed_ack = false;    // only what it acknowledges counts
  static Tolerance of_owed_ack() { return {0, true}; }
};

// The names of the fields that differ; empty: none.
std::string difference_of(const Packet& expected, const tcp::SegmentPlan& plan,
                          const Endpoint& endpoint, const Tolerance& tolerance);

}  // namespace snp::script
