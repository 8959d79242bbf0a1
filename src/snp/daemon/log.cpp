#include "snp/daemon/log.h"

#include <cstdlib>
#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace snp::daemon {
namespace {

// sd-daemon(3): "<N>" before a line is its syslog priority.
class JournalPriority : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const char* prefix = "<7>";
    if (message.level >= spdlog::level::err)
      prefix = "<3>";
    else if (message.level == spdlog::level::warn)
      prefix = "<4>";
    else if (message.level == spdlog::level::info)
      prefix = "<6>";
    out.append(prefix, prefix + 3);
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JournalPriority>();
  }
};

}  // namespace

void open_log(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("snpd");
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  // Start-up only: no other thread is there to change the environment.
  if (std::getenv("JOURNAL_STREAM") != nullptr)  // NOLINT(concurrency-mt-unsafe)
    formatter->add_flag<JournalPriority>('*').set_pattern("%*%v");
  else
    formatter->set_pattern("%H:%M:%S.%e snpd[%P] %l: %v");
  logger->set_formatter(std::move(formatter));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  set_log_level(level);
}

void set_log_level(const std::string& level) {
  spdlog::set_level(spdlog::level::from_str(level));
}

}  // namespace snp::daemon
