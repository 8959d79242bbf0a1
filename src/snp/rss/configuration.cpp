#include "snp/rss/configuration.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace snp::rss {
namespace {

Result<> as_result(MoveStatus status, const std::string& what) {
  if (status == MoveStatus::kSuccess) return {};
  return fail(Errc::kInvalid, std::string(to_string(status)) + ": " + what);
}

}  // namespace

Configuration::Configuration(CpuId affinity_cpu) : affinity_(affinity_cpu), table_(affinity_cpu) {}

Result<> Configuration::check(const Parameters& parameters) {
  const auto given = [&](ParameterFlag unchanged) { return (parameters.flags & unchanged) == 0; };
  if (given(kHashInfoUnchanged)) {
    const HashTypes types = parameters.hash_information & ~kHashFunctionMask;
    if ((parameters.hash_information & kHashFunctionMask) != kHashFunctionToeplitz)
      return fail(Errc::kInvalid, "INVALID_PARAMETER: Toeplitz (1) is the only hash function");
    if (types == 0 || !is_allowed(types))
      return fail(Errc::kInvalid,
                  "INVALID_PARAMETER: these hash types do not go together; TCP and "
                  "UDP of a family need its addresses, too");
  }
  if (given(kHashKeyUnchanged) && parameters.key.size() != kKeyBytes)
    return fail(Errc::kInvalid, "INVALID_LENGTH: a hash key has 40 bytes, not " +
                                    std::to_string(parameters.key.size()));
  if (given(kTableUnchanged) &&
      (!std::has_single_bit(parameters.table.size()) || parameters.table.size() > kMaxTableEntries))
    return fail(Errc::kInvalid, "INVALID_PARAMETER: a table has a power of two of entries, up to " +
                                    std::to_string(kMaxTableEntries) + ", not " +
                                    std::to_string(parameters.table.size()));
  return {};
}

Result<> Configuration::change_table(const Parameters& parameters) {
  if ((parameters.flags & kTableUnchanged) == 0) {
    if (auto done = as_result(table_.assign(parameters.table),
                              "the table names a CPU outside the RSS set, or too many");
        !done)
      return done;
  }
  if ((parameters.flags & kDefaultProcessorUnchanged) == 0 &&
      parameters.default_processor != table_.default_cpu()) {
    std::array<Move, 1> move = {
        Move{kDefaultProcessorIndex, parameters.default_processor, MoveStatus::kSuccess}};
    if (auto done = as_result(table_.move(table_.default_cpu(), move),
                              "the default CPU is outside the RSS set");
        !done)
      return done;
  }
  return as_result(table_.enable(), "the table names a CPU outside the RSS set, or too many");
}

Result<> Configuration::apply(const Parameters& parameters) {
  if ((parameters.flags & kDisableRss) != 0) {  // overrides everything
    *this = Configuration(affinity_);
    return {};
  }
  if (auto done = check(parameters); !done) return done;
  Configuration next = *this;
  if (auto done = next.change_table(parameters); !done) return done;
  next.changed_ = 0;
  if ((parameters.flags & kBaseCpuUnchanged) == 0 && parameters.base_cpu != base_cpu_) {
    next.base_cpu_ = parameters.base_cpu;
    next.changed_ |= kBaseCpuUnchanged;
  }
  if ((parameters.flags & kHashInfoUnchanged) == 0) {
    next.types_ = parameters.hash_information & ~kHashFunctionMask;
    if (next.types_ != types_) next.changed_ |= kHashInfoUnchanged;
  }
  if ((parameters.flags & kHashKeyUnchanged) == 0) {
    std::ranges::copy(parameters.key, next.key_.begin());
    if (next.key_ != key_) next.changed_ |= kHashKeyUnchanged;
  }
  if (next.hash_ == nullptr || next.key_ != key_)
    next.hash_ = std::make_shared<const Toeplitz>(next.key_);
  if (!next.table_.has_same_entries(table_)) next.changed_ |= kTableUnchanged;
  if (next.table_.default_cpu() != table_.default_cpu())
    next.changed_ |= kDefaultProcessorUnchanged;
  *this = std::move(next);
  return {};
}

Configuration::Placement Configuration::place(const PacketFields& packet) const {
  const auto input = select_input(packet, types_);
  if (!table_.is_enabled() || !input) return {table_.default_cpu(), std::nullopt, {}};
  const std::uint32_t hash = hash_->hash(input->span());
  return {table_.cpu_of(hash), hash, input->type};
}

Configuration::Placement Configuration::place(std::span<const std::byte> packet) const {
  const auto fields = read_fields(packet);
  if (!fields) return {table_.default_cpu(), std::nullopt, {}};
  return place(*fields);
}

MoveStatus move_entries(CpuId actor, std::span<Move> moves,
                        const std::function<IndirectionTable*(std::uint32_t port)>& table_of) {
  MoveStatus first_failure = MoveStatus::kSuccess;
  while (!moves.empty()) {
    const std::uint32_t port = moves.front().port;
    const auto other = std::ranges::find_if(moves, [&](const Move& m) { return m.port != port; });
    const auto group = moves.first(static_cast<std::size_t>(other - moves.begin()));
    moves = moves.subspan(group.size());
    MoveStatus status = MoveStatus::kInvalidPortState;
    if (IndirectionTable* const table = table_of(port); table != nullptr)
      status = table->move(actor, group);
    else
      for (Move& move : group)
        move.status = status;
    if (first_failure == MoveStatus::kSuccess) first_failure = status;
  }
  return first_failure;
}

}  // namespace snp::rss
