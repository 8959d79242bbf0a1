#include "snp/netdma/calibration.h"

#include <cmath>

namespace snp::netdma {
namespace {

Worth judge_size(const Figures& figures, const SizeFigures& size) noexcept {
  if (!figures.failure.empty()) return Worth::kFailed;
  if (size.bytes == 0 || size.copy_ns <= 0) return Worth::kNotMeasured;
  if (!figures.is_asynchronous) return Worth::kSynchronous;
  if (size.shard_cpu_ns <= 0) return Worth::kNotMeasured;
  if (size.shard_engine_ns > kMostOfFrame * size.shard_cpu_ns) return Worth::kDear;
  if (size.engine_ns > size.copy_ns + size.packet_ns) return Worth::kSlow;
  return Worth::kYes;
}

// Each size in the class must be worth it. A class without a size was not measured.
Worth judge_class(const Figures& figures, std::size_t size_class) noexcept {
  if (!figures.failure.empty()) return Worth::kFailed;
  Worth verdict = Worth::kNotMeasured;
  for (const SizeFigures& size : figures.sizes) {
    if (size.bytes == 0 || stats::size_class_of(size.bytes) != size_class) continue;
    verdict = judge_size(figures, size);
    if (verdict != Worth::kYes) return verdict;
  }
  return verdict;
}

// The figures that decided about a class: the first that speaks against it, or its last.
const SizeFigures* deciding(const Calibration& calibration, std::size_t size_class) noexcept {
  const SizeFigures* found = nullptr;
  for (const SizeFigures& size : calibration.figures.sizes) {
    if (size.bytes == 0 || stats::size_class_of(size.bytes) != size_class) continue;
    found = &size;
    if (judge_size(calibration.figures, size) != Worth::kYes) return found;
  }
  return found;
}

bool gains_by_streaming(const SizeFigures& size) noexcept {
  const double plain = size.copy_ns + size.copy_read_ns;
  const double streaming = size.streaming_ns + size.streaming_read_ns;
  return size.bytes != 0 && streaming > 0 && streaming < kMostOfPlain * plain;
}

std::string ns(double time) {
  return std::to_string(std::llround(time)) + " ns";
}

}  // namespace

std::string_view to_string(Worth worth) noexcept {
  switch (worth) {
    case Worth::kYes:
      return "worth";
    case Worth::kNotMeasured:
      return "not_measured";
    case Worth::kFailed:
      return "failed";
    case Worth::kSynchronous:
      return "synchronous";
    case Worth::kDear:
      return "dear";
    case Worth::kSlow:
      return "slow";
  }
  return "";
}

Calibration judge(const Figures& figures) {
  Calibration out;
  out.figures = figures;
  for (std::size_t i = 0; i < out.classes.size(); ++i)
    out.classes[i] = judge_class(figures, i);
  for (std::size_t i = out.classes.size(); i-- > 0 && out.classes[i] == Worth::kYes;)
    out.min_bytes = stats::size_class_floor(i);
  if (!figures.failure.empty()) return out;
  for (auto size = figures.sizes.rbegin(); size != figures.sizes.rend(); ++size) {
    if (!gains_by_streaming(*size)) break;
    out.streaming_from_bytes = size->bytes;
  }
  return out;
}

std::string explain(const Calibration& calibration, std::size_t size_class) {
  const SizeFigures* size = deciding(calibration, size_class);
  if (calibration.classes[size_class] == Worth::kFailed)
    return "the CPU copies: " + calibration.figures.failure;
  if (size == nullptr || calibration.classes[size_class] == Worth::kNotMeasured)
    return "the CPU copies: not measured";
  const std::string bytes = std::to_string(size->bytes) + " bytes";
  switch (calibration.classes[size_class]) {
    case Worth::kSynchronous:
      return "the CPU copies: this engine works in the shard's own time";
    case Worth::kDear:
      return "the CPU copies: a frame of " + bytes + " costs the shard " + ns(size->shard_cpu_ns) +
             ", with the engine " + ns(size->shard_engine_ns);
    case Worth::kSlow:
      return "the CPU copies: the engine needs " + ns(size->engine_ns) + " for " + bytes +
             ", the CPU " + ns(size->copy_ns) + " and the next packet " + ns(size->packet_ns);
    default:
      return "the engine copies: a frame of " + bytes + " costs the shard " +
             ns(size->shard_engine_ns) + ", without it " + ns(size->shard_cpu_ns);
  }
}

}  // namespace snp::netdma
