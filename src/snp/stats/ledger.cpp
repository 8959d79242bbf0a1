#include "snp/stats/ledger.h"

namespace snp::stats {
namespace {

using P = PathMetric;

#define SNP_MIB(symbol, group, name, kind, meaning, whose) \
  {name, MibGroup::group, Kind::kind, meaning, whose},
constexpr MibInfo kMib[] = {
#include "snp/stats/mib.def"
};
#undef SNP_MIB

bool is_ip(Mib counter) noexcept {
  return kMib[static_cast<std::size_t>(counter)].group == MibGroup::kIp;
}

// A counter that is read while others move may be behind what is taken from it.
std::uint64_t less(std::uint64_t value, std::uint64_t by) noexcept {
  return value > by ? value - by : 0;
}

// Of the frames that passed or left the device, on one path; `repeats` and sockets are apart.
std::int64_t path_correction(const PathCounters& path, Mib counter) noexcept {
  const auto value = [&](P metric) { return static_cast<std::int64_t>(path[metric]); };
  switch (counter) {
    case Mib::kInSegs:
    case Mib::kInReceives:
    case Mib::kInDelivers:
      return value(P::kForgedFrames);
    case Mib::kInOctets:
      return value(P::kForgedOctets);
    case Mib::kOutSegs:
      return value(P::kFencedSegments);
    case Mib::kOutRsts:
      return value(P::kFencedResets);
    case Mib::kOutRequests:
      return value(P::kFencedFrames);
    case Mib::kOutOctets:
      return value(P::kFencedOctets);
    default:
      return 0;
  }
}

std::int64_t socket_correction(const LedgerSources& sources, Mib counter) noexcept {
  switch (counter) {
    case Mib::kEstabResets:
      return static_cast<std::int64_t>(sources.own_resets);
    case Mib::kCurrEstab:
      return static_cast<std::int64_t>(sources.parked);
    case Mib::kOutSegs:
      return static_cast<std::int64_t>(sources.own_repeats);
    case Mib::kRetransSegs:
      return -static_cast<std::int64_t>(sources.own_repeats);
    default:
      return 0;
  }
}

std::int64_t signed_correction(const LedgerSources& sources, Mib counter) noexcept {
  std::int64_t sum = socket_correction(sources, counter);
  for (const PathCounters& path : sources.paths)
    sum += path_correction(path, counter);
  return sum;
}

std::uint64_t corrected(std::uint64_t value, std::int64_t by) noexcept {
  return by < 0 ? value + static_cast<std::uint64_t>(-by)
                : less(value, static_cast<std::uint64_t>(by));
}

}  // namespace

std::span<const MibInfo> all_mib_counters() noexcept {
  return kMib;
}

std::uint64_t target_part(const PathCounters& path, Mib counter) {
  switch (counter) {
    case Mib::kEstabResets:
      return path[P::kEstabResets];
    case Mib::kCurrEstab:
      return path[P::kEstablished];
    case Mib::kInSegs:
    case Mib::kInReceives:
      return less(path[P::kTakenFrames], path[P::kReinjectedFrames]);
    case Mib::kInOctets:
      return less(path[P::kTakenOctets], path[P::kReinjectedOctets]);
    case Mib::kInDelivers:
      return path[P::kFramesIn];
    case Mib::kInHdrErrors:
      return path[P::kHeaderErrors];
    case Mib::kInTruncatedPkts:
      return path[P::kTruncated];
    case Mib::kInDiscards:
      return path[P::kDiscards];
    case Mib::kInErrs:
    case Mib::kInCsumErrors:
      return path[P::kBadChecksums];
    case Mib::kOutSegs:
      return less(path[P::kSegmentsOut], path[P::kRetransmits]);
    case Mib::kRetransSegs:
      return path[P::kRetransmits];
    case Mib::kOutRsts:
      return path[P::kResetsOut];
    case Mib::kOutRequests:
      return path[P::kFramesOut];
    case Mib::kOutOctets:
      return path[P::kOctetsOut];
    case Mib::kOutDiscards:
      return path[P::kFramesNotSent];
    default:
      return 0;
  }
}

std::uint64_t correction(const LedgerSources& sources, Mib counter) {
  const std::int64_t sum = signed_correction(sources, counter);
  return sum > 0 ? static_cast<std::uint64_t>(sum) : 0;
}

LedgerRow ledger_row(const LedgerSources& sources, Mib counter) {
  std::uint64_t host = sources.host.tcp[counter];
  PathCounters both;
  for (std::size_t family = 0; family < kFamilies; ++family) {
    both.merge(sources.paths[family]);
    if (is_ip(counter)) host += sources.host.ip[family][counter];
  }
  return {corrected(host, signed_correction(sources, counter)), target_part(both, counter),
          counter == Mib::kCurrEstab ? sources.local_ends : 0};
}

LedgerRow ledger_row(const LedgerSources& sources, Mib counter, Family family) {
  const auto index = static_cast<std::size_t>(family);
  const PathCounters& path = sources.paths[index];
  LedgerRow row;
  if (is_ip(counter))
    row.host = corrected(sources.host.ip[index][counter], path_correction(path, counter));
  row.target = target_part(path, counter);
  return row;
}

}  // namespace snp::stats
