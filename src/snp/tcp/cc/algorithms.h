// The list of congestion controls. To add one: its file, a line here and in congestion_control.cpp.
#pragma once

#include "snp/tcp/cc/congestion_control.h"

namespace snp::tcp {

extern const CongestionAlgorithm kCubic;    // RFC 9438
extern const CongestionAlgorithm kNewReno;  // RFC 5681
extern const CongestionAlgorithm kDctcp;    // RFC 8257
extern const CongestionAlgorithm kBbr;      // draft-ietf-ccwg-bbr-06

}  // namespace snp::tcp
