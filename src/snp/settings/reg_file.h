// Files of the registry editor (.reg): what regedit of Windows writes is read, and what is written
// here is what it would write, byte by byte. Knows all keys and values; what ours mean is in
// registry.h. Pure. A file comes from anywhere: nothing in it is trusted.
//
//   UTF-16LE with a byte order mark, "Windows Registry Editor Version 5.00"; or bytes, "REGEDIT4".
//   [HKEY_LOCAL_MACHINE\A\B]      key            [-HKEY_LOCAL_MACHINE\A\B]   deleted with all in it
//   "Name"=dword:0000001f         value          "Name"=-                    deleted
//   "Name"=hex(7):38,00,\         its bytes, over several lines;  "Name"="text";  @= is the unnamed
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/settings/registry.h"

namespace snp::settings {

inline constexpr std::uint32_t kRegSz = 1, kRegBinary = 3, kRegDword = 4, kRegMultiSz = 7;

struct RegEntry {
  enum class Kind : std::uint8_t { kSet, kDeleteValue, kDeleteKey };
  Kind kind = Kind::kSet;
  std::string key;   // UTF-8
  std::string name;  // of the value; empty: the unnamed one
  std::uint32_t type = 0;
  std::string data;      // kSet: as the registry stores it; text in UTF-16LE
  std::size_t line = 0;  // where it begins, from 1
};

// All of it or the first mistake: "line 7: ...".
Result<std::vector<RegEntry>> parse_reg_file(std::string_view bytes);

// The data of a value as ours have it. Fails for other types and wrong lengths.
Result<RegistryData> registry_data_of(const RegEntry& entry);

// A .reg file with our key and all of our values.
std::string write_reg_file(const Settings& values);

}  // namespace snp::settings
