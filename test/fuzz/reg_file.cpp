// Any bytes as a .reg file; what is accepted is applied to settings, which must then be as they
// would be written and read again.
#include "snp/settings/reg_file.h"

#include <cstdint>

#include "snp/base/assert.h"

using namespace snp::settings;

namespace {

Settings apply(const std::vector<RegEntry>& entries) {
  Settings values;
  std::vector<std::string> ignored;
  for (const RegEntry& entry : entries) {
    SNP_ASSERT(entry.line > 0);
    const RegistryInfo* info = find_registry_value(entry.name);
    if (info == nullptr || entry.kind != RegEntry::Kind::kSet) continue;
    if (const auto data = registry_data_of(entry))
      (void)set_registry_data(*info, *data, values, ignored);
  }
  return values;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto entries = parse_reg_file(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!entries) {
    SNP_ASSERT(!entries.error().message.empty());
    return 0;
  }
  const Settings values = apply(*entries);
  const auto again = parse_reg_file(write_reg_file(values));
  SNP_ASSERT(again.has_value());
  const Settings same = apply(*again);
  for (const SettingInfo& info : all_settings())
    SNP_ASSERT(values.is_same(info.id, same) || info.id == Setting::kChimney);
  return 0;
}
