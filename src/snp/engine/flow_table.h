// Which connection a frame belongs to. Shard-local.
#pragma once

#include <absl/container/flat_hash_map.h>

#include "snp/wire/four_tuple_hash.h"

namespace snp::engine {

template <class Value>
using TupleMap = absl::flat_hash_map<FourTuple, Value, FourTupleHash>;

}  // namespace snp::engine
