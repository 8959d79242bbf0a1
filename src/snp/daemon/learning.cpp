#include "snp/daemon/learning.h"

#include <algorithm>

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using chimney::Carried;
using chimney::Origin;
using chimney::Prediction;
using chimney::TargetKind;
using settings::Setting;

constexpr std::uint32_t kUsualMessage = 512;        // until an origin's own is known
constexpr std::uint64_t kEnoughToMeasure = 8;       // messages: below it their mean says nothing
constexpr std::uint64_t kEnoughToCompare = 16'384;  // bytes: below it a round trip says nothing

const ipc::OriginRow& row_at(const Program& program, ipc::OriginId id) {
  return program.arena->memory.at<ipc::OriginRow>(ipc::kOriginsOffset +
                                                  std::size_t{id} * sizeof(ipc::OriginRow));
}

// The application may write it while we read: whatever comes out is an origin, perhaps none that
// is.
Origin key_of(const Program& program, const ipc::OriginRow& row) {
  if (row.is_listener != 0) return Origin::listener({{row.address}, row.port});
  return Origin::outgoing(program.name, row.port);
}

std::uint32_t mean_of(const Carried& carried) {
  if (carried.messages < kEnoughToMeasure) return 0;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(carried.bytes / carried.messages, 1, 1u << 20));
}

}  // namespace

Learning::Learning(LearnedMemory& memory, const settings::Settings& settings)
    : memory_(memory), settings_(settings) {
  memory_.economics.tidy();
  memory_.history.tidy(engine::monotonic_now());
}

std::uint32_t Learning::eager_percent() const {
  return static_cast<std::uint32_t>(settings_.number(Setting::kAutomaticEagerPercent));
}

Prediction Learning::predict(const Origin& origin) const {
  return chimney::predict(memory_.history.outcomes(origin, engine::monotonic_now()),
                          eager_percent());
}

// Hostile words: whatever they say, a window full of outcomes at most.
void Learning::take_tally(Program& program, ipc::OriginId id) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const ipc::OriginRow& row = row_at(program, id);
  const std::uint32_t generation = row.generation.load(std::memory_order_acquire);
  if (generation == 0) return;
  Program::Tally& taken = program.tallies[id];
  if (taken.generation != generation) taken = {.generation = generation};
  const Program::Tally now{generation, row.short_lived.load(kRelaxed), row.missed.load(kRelaxed),
                           row.missed_calls.load(kRelaxed), row.missed_bytes.load(kRelaxed)};
  const Program::Tally before = std::exchange(taken, now);
  const Origin origin = key_of(program, row);
  const auto add = [&](std::uint32_t count, bool has_earned, std::uint32_t message_bytes) {
    for (std::uint32_t i = 0; i < std::min(count, chimney::History::kWindow); ++i)
      memory_.history.add(origin, has_earned, message_bytes, engine::monotonic_now());
  };
  add(now.short_lived - before.short_lived, false, 0);
  if (const std::uint32_t missed = now.missed - before.missed; missed != 0) {
    const Carried all{now.missed_calls - before.missed_calls,
                      now.missed_bytes - before.missed_bytes};
    const Carried mean{all.messages / missed, all.bytes / missed};
    add(missed, memory_.economics.pays(TargetKind::kEngine, mean, 0), mean_of(mean));
  }
}

std::optional<Origin> Learning::origin_of(Program& program, ipc::SlotId slot) {
  const ipc::OriginId id = program.slot(slot).app.origin.load();
  if (id == 0 || id >= ipc::kOrigins) return std::nullopt;
  take_tally(program, id);
  if (program.tallies[id].generation == 0) return std::nullopt;
  return key_of(program, row_at(program, id));
}

void Learning::add_worth(chimney::Facts& facts, const std::optional<Origin>& origin,
                         TargetKind kind, std::uint32_t rtt_us) const {
  facts.cost_us = memory_.economics.cost_us(kind);
  facts.gain_us = memory_.economics.gain_us(kind, {facts.calls, facts.bytes}, rtt_us);
  if (!origin || eager_percent() == 0) return;
  const auto outcomes = memory_.history.outcomes(*origin, engine::monotonic_now());
  if (outcomes.of == 0) return;
  facts.prediction = chimney::predict(outcomes, eager_percent());
  facts.history = to_string(*origin) + ": " + to_string(outcomes);
}

std::optional<Origin> Learning::guess_origin(const FourTuple& flow,
                                             const std::string& program) const {
  Endpoint any = flow.local;
  any.address = {};
  Endpoint any_v4 = any;
  any_v4.address = IpAddress::v4(0, 0, 0, 0);
  for (const Origin& origin : {Origin::listener(flow.local), Origin::listener(any_v4),
                               Origin::listener(any), Origin::outgoing(program, flow.remote.port)})
    if (memory_.history.outcomes(origin, engine::monotonic_now()).of != 0) return origin;
  return std::nullopt;
}

void Learning::advise(const Program& program, ipc::OriginId id) const {
  if (id == 0 || id >= ipc::kOrigins || program.arena == nullptr) return;
  const ipc::OriginRow& row = row_at(program, id);
  const std::uint32_t generation = row.generation.load(std::memory_order_acquire);
  if (generation == 0) return;
  const auto advice = predict(key_of(program, row)) == Prediction::kPays
                          ? ipc::OriginAdvice::kEager
                          : ipc::OriginAdvice::kProve;
  const_cast<ipc::OriginRow&>(row).advice.store(ipc::make_advice(generation, advice),
                                                std::memory_order_relaxed);
}

// With the target nobody counts messages: they are taken to be as large as they were.
Carried Learning::carried(const Stay& stay) const {
  std::uint32_t mean = mean_of(stay.before);
  if (mean == 0 && stay.origin) mean = memory_.history.message_bytes(*stay.origin);
  if (mean == 0) mean = kUsualMessage;
  return {stay.before.messages + stay.bytes / mean, stay.before.bytes + stay.bytes};
}

void Learning::judge(Stay& stay, bool has_earned, const Program& program) {
  stay.is_judged = true;
  if (!stay.origin) return;
  memory_.history.add(*stay.origin, has_earned, mean_of(stay.before), engine::monotonic_now());
  advise(program, stay.origin_id);
}

bool Learning::look(Stay& stay, std::uint64_t bytes, std::uint32_t target_rtt_us,
                    const Program& program) {
  stay.bytes = bytes;
  if (!stay.is_compared && bytes >= kEnoughToCompare && target_rtt_us != 0) {
    memory_.economics.compared(stay.kind, stay.host_rtt_us, target_rtt_us);
    stay.is_compared = true;
  }
  if (!stay.is_judged && memory_.economics.pays(stay.kind, carried(stay), stay.host_rtt_us))
    judge(stay, true, program);
  return stay.is_judged;
}

void Learning::end(Stay& stay, const Program& program) {
  if (!look(stay, stay.bytes, 0, program)) judge(stay, false, program);
}

void Learning::refresh(Program& program) {
  if (program.arena == nullptr) return;
  for (std::uint32_t id = 1; id < ipc::kOrigins; ++id) {
    take_tally(program, static_cast<ipc::OriginId>(id));
    if (program.tallies[id].generation != 0) advise(program, static_cast<ipc::OriginId>(id));
  }
}

commands::LearnedReport Learning::report() const {
  commands::LearnedReport report;
  for (const TargetKind kind : {TargetKind::kEngine, TargetKind::kLocal}) {
    const chimney::Economics& figures = memory_.economics;
    report.targets.push_back({kind == TargetKind::kEngine ? "engine" : "local",
                              figures.hand_overs(kind), figures.cost_us(kind),
                              figures.gain_per_message_ns(kind, 0), figures.gain_per_kib_ns(kind)});
  }
  for (const auto& row : memory_.history.rows(engine::monotonic_now()))
    report.origins.push_back({to_string(row.origin), row.outcomes, row.message_bytes,
                              chimney::predict(row.outcomes, eager_percent())});
  return report;
}

}  // namespace snp::daemon
