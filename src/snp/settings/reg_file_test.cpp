#include "snp/settings/reg_file.h"

#include <fstream>

#include <gtest/gtest.h>

#include "snp/settings/utf16.h"

namespace snp::settings {
namespace {

std::string golden(const std::string& name) {
  std::ifstream file(std::string(SNP_SOURCE_DIR) + "/test/cli/reg/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string windows(const std::string& body) {
  return "\xff\xfe" + to_utf16le("Windows Registry Editor Version 5.00\r\n\r\n" + body);
}

std::string error_of(const std::string& bytes) {
  const auto entries = parse_reg_file(bytes);
  return entries ? "accepted" : entries.error().message;
}

Settings some_settings() {
  Settings values;
  EXPECT_TRUE(values.set("chimney", "disabled"));
  EXPECT_TRUE(values.set("enabled_local_ports", "80 443 8080 8443 5001 5432 6379 11211"));
  EXPECT_TRUE(values.set("disabled_remote_ports", "22"));
  EXPECT_TRUE(values.set("netdma_min_bytes", "65535"));
  return values;
}

TEST(RegFile, WritesWhatRegeditWould) {
  EXPECT_EQ(write_reg_file(some_settings()), golden("exported.reg"));
  EXPECT_EQ(write_reg_file({}), golden("defaults.reg"));
}

TEST(RegFile, ReadsWhatItWrote) {
  const auto entries = parse_reg_file(write_reg_file(some_settings()));
  ASSERT_TRUE(entries) << entries.error().message;
  Settings values;
  std::vector<std::string> ignored;
  for (const RegEntry& entry : *entries) {
    EXPECT_TRUE(is_registry_key(entry.key));
    const auto data = registry_data_of(entry);
    ASSERT_TRUE(data) << data.error().message;
    ASSERT_TRUE(set_registry_data(*find_registry_value(entry.name), *data, values, ignored));
  }
  EXPECT_TRUE(ignored.empty());
  for (const SettingInfo& info : all_settings())
    EXPECT_TRUE(values.is_same(info.id, some_settings())) << info.name;
}

// Its bytes are those of regedit: other keys and types, deletions, continued lines, comments.
TEST(RegFile, ReadsAFileOfWindows) {
  const auto entries = parse_reg_file(golden("windows.reg"));
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 9u);
  const auto at = [&](std::size_t i) { return (*entries)[i]; };
  EXPECT_EQ(at(0).name, "DhcpDomain");
  EXPECT_EQ(at(0).type, kRegSz);
  EXPECT_EQ(from_utf16le(at(0).data), std::string("caf\303\251 \"x\"\\y", 11) + '\0');
  EXPECT_EQ(at(1).name, "");
  EXPECT_EQ(std::get<std::uint32_t>(*registry_data_of(at(2))), 1u);
  EXPECT_EQ(at(3).kind, RegEntry::Kind::kDeleteValue);
  EXPECT_EQ(at(3).name, "EnableRSS");
  EXPECT_EQ(std::get<std::vector<std::string>>(*registry_data_of(at(4))),
            (std::vector<std::string>{"80,443", "8080", "3389 22"}));
  EXPECT_EQ(at(5).type, kRegBinary);
  EXPECT_FALSE(registry_data_of(at(5)));
  EXPECT_EQ(std::get<std::uint32_t>(*registry_data_of(at(6))), 0x1000u);
  EXPECT_EQ(at(7).kind, RegEntry::Kind::kDeleteKey);
  EXPECT_EQ(at(8).key, "HKEY_LOCAL_MACHINE\\SOFTWARE\\Other");
}

TEST(RegFile, ReadsRegedit4) {
  const auto entries = parse_reg_file(
      "REGEDIT4\r\n\r\n[HKLM\\SYSTEM\\ControlSet001\\Services\\Tcpip\\Parameters\\]\r\n"
      "\"TCPChimneyEnabledLocalPorts\"=hex(7):38,30,00,34,34,33,00,00\n");
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_TRUE(is_registry_key(entries->front().key));
  EXPECT_EQ(std::get<std::vector<std::string>>(*registry_data_of(entries->front())),
            (std::vector<std::string>{"80", "443"}));
}

TEST(RegFile, NamesTheWrongLine) {
  EXPECT_EQ(error_of("").substr(0, 19), "line 1: no .reg fil");
  EXPECT_EQ(error_of("\xff\xfe\x61"), "the file is no UTF-16LE");
  EXPECT_EQ(error_of(windows("[A\r\n")), "line 3: a key must end with ]");
  EXPECT_EQ(error_of(windows("[]\r\n")), "line 3: the key has no name");
  EXPECT_EQ(error_of(windows("\"a\"=dword:1\r\n")), "line 3: a value needs a [key] above it");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a\"=dword:000000001\r\n")),
            "line 4: dword: wants up to eight hexadecimal digits");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a\"=hex(7):1,\\\r\n  0g\r\n")),
            "line 4: hex: wants bytes, two hexadecimal digits each, with commas between");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a\"=hex(:00\r\n")),
            "line 4: the data of a value has an unknown form");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a=1\r\n")), "line 4: neither a [key] nor a \"value\"");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a\"=\"x\r\n")), "line 4: a text must end with \"");
  EXPECT_EQ(error_of(windows("[A]\r\n\"a\" 1\r\n")), "line 4: after the name of a value comes =");
  EXPECT_EQ(error_of(windows("[-A]\r\n\"a\"=-\r\n")), "line 4: a value needs a [key] above it");
}

TEST(Registry, KeysAndNamesIgnoreCase) {
  EXPECT_TRUE(is_registry_key(kRegistryKey));
  EXPECT_TRUE(is_registry_key("hklm\\system\\currentcontrolset\\services\\TCPIP\\parameters"));
  EXPECT_FALSE(is_registry_key("HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip"));
  EXPECT_FALSE(is_registry_key(std::string(kRegistryKey) + "\\Interfaces"));
  EXPECT_FALSE(is_registry_key("HKCU\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters"));
  ASSERT_NE(find_registry_value("enabletcpa"), nullptr);
  EXPECT_EQ(find_registry_value("enabletcpa")->setting, Setting::kNetdma);
  EXPECT_EQ(all_registry_values().size(), 12u);
}

// CFG-2: an absent EnableTCPA means on.
TEST(Registry, AbsentMeansTheDefault) {
  const Settings values;
  for (const char* name : {"EnableTCPA", "EnableRSS", "EnableTCPChimney"})
    EXPECT_EQ(std::get<std::uint32_t>(registry_data(*find_registry_value(name), values)), 1u);
  EXPECT_EQ(values.text(Setting::kChimney), "automatic");
}

TEST(Registry, SwitchesKeepTheirWayOfBeingOn) {
  Settings values;
  std::vector<std::string> ignored;
  const RegistryInfo& chimney = *find_registry_value("EnableTCPChimney");
  const auto set = [&](std::uint32_t value) {
    return set_registry_data(chimney, RegistryData(value), values, ignored).has_value();
  };
  ASSERT_TRUE(values.set("chimney", "enabled"));
  EXPECT_TRUE(set(1));
  EXPECT_EQ(values.text(Setting::kChimney), "enabled");
  EXPECT_TRUE(set(0));
  EXPECT_EQ(values.text(Setting::kChimney), "disabled");
  EXPECT_TRUE(set(1));
  EXPECT_EQ(values.text(Setting::kChimney), "automatic");
  EXPECT_FALSE(set(2));
}

// CFG-3
TEST(Registry, WrongPortsAreIgnoredAndSaid) {
  Settings values;
  std::vector<std::string> ignored;
  const RegistryInfo& ports = *find_registry_value("TCPChimneyDisabledLocalPorts");
  const RegistryData data = std::vector<std::string>{"80,0", "443 70000"};
  ASSERT_TRUE(set_registry_data(ports, data, values, ignored));
  EXPECT_EQ(values.to_text(Setting::kDisabledLocalPorts), "80, 443");
  EXPECT_EQ(ignored, (std::vector<std::string>{
                         "TCPChimneyDisabledLocalPorts: ignored '0': not 1 to 65535",
                         "TCPChimneyDisabledLocalPorts: ignored '70000': not 1 to 65535"}));
  EXPECT_FALSE(set_registry_data(ports, RegistryData(std::uint32_t{80}), values, ignored));
  EXPECT_FALSE(set_registry_data(*find_registry_value("RssBaseCpu"), data, values, ignored));
}

TEST(Utf16, RoundTripsAndRefusesHalves) {
  const std::string text = "a\303\244\342\202\254\360\237\230\200";
  EXPECT_EQ(from_utf16le(to_utf16le(text)), text);
  EXPECT_EQ(to_utf16le("\xff"), "\xfd\xff");
  EXPECT_EQ(from_utf16le(std::string_view("\x00\xd8", 2)), std::nullopt);
  EXPECT_EQ(from_utf16le(std::string_view("\x00\xdc\x00\xd8", 4)), std::nullopt);
}

}  // namespace
}  // namespace snp::settings
