// A snpd for tests of commands.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snp/commands/command.h"
#include "snp/commands/rule_limits.h"

namespace snp::commands {

class FakeService : public Service {
 public:
  std::vector<ConnectionRow> connections() override { return rows; }
  void offload(const FourTuple& flow, Done done) override {
    moved = flow;
    done(answer);
  }
  void upload(const FourTuple& flow, Done done) override {
    moved = flow;
    done(answer);
  }
  void upload_all(std::function<void(Result<std::uint32_t>)> done) override { done(7u); }
  PolicyAnswer judge(const PolicyQuestion& question) override {
    asked = question;
    return verdict;
  }
  [[nodiscard]] const chimney::Rules& rules() const override { return loaded; }
  LearnedReport learned() override { return lessons; }
  [[nodiscard]] std::string rules_path() const override { return "/etc/snp/snp.rules"; }
  Result<> load_rules(const std::string& text, const std::string& name) override {
    auto parsed = chimney::parse_rules(text, name, rule_limits(1));
    if (!parsed) return tl::unexpected(parsed.error());
    loaded = *parsed;
    return {};
  }
  Result<std::vector<TcpSocket>> tcp_sockets() override { return sockets; }
  HostTcp host_tcp() override { return {true, 2, true}; }
  std::vector<DeviceRow> devices() override { return links; }
  std::vector<FeatureState> features() override {
    return {{kRssFeature, true, "works."}, {kNetdmaFeature, false, "no copy engine."}};
  }
  StatsReport stats() override { return report; }
  StatusReport status() override { return state; }
  RssReport rss() override { return scaling; }
  RssBalance rebalance(bool is_dry) override {
    was_dry = is_dry;
    return balance;
  }
  NetdmaReport netdma() override { return copying; }
  void calibrate_netdma(Done done) override {
    ++calibrations;
    done(answer);
  }
  [[nodiscard]] const settings::Settings& settings() const override { return values; }
  [[nodiscard]] const settings::Settings& stored_settings() const override { return stored; }
  [[nodiscard]] bool is_storing() const override { return true; }
  Result<> change_settings(const settings::Settings& wanted) override {
    stored = wanted;
    for (const settings::SettingInfo& info : settings::all_settings())
      if (info.change == settings::Change::kLive) values.copy(info.id, wanted);
    return {};
  }

  void log(const std::string& line) override { logged.push_back(line); }

  std::vector<TcpSocket> sockets;
  std::vector<DeviceRow> links;
  PolicyAnswer verdict;
  PolicyQuestion asked;
  chimney::Rules loaded;
  LearnedReport lessons;
  std::vector<std::string> logged;
  std::vector<ConnectionRow> rows;
  StatsReport report;
  StatusReport state;
  RssReport scaling;
  RssBalance balance;
  NetdmaReport copying;
  int calibrations = 0;
  std::optional<bool> was_dry;
  settings::Settings values, stored;
  std::optional<FourTuple> moved;
  Result<> answer;
};

inline Result<Json> run(FakeService& service, std::string_view path, const Json& arguments) {
  const CommandSpec* command = find_command(path);
  if (command == nullptr) return fail(Errc::kNotFound, "no command");
  if (auto checked = check_arguments(*command, arguments); !checked)
    return tl::unexpected(checked.error());
  Result<Json> result = fail(Errc::kInvalid, "no answer");
  command->handle(service, arguments, [&](const Result<Json>& answer) { result = answer; });
  return result;
}

}  // namespace snp::commands
