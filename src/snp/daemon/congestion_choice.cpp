#include "snp/daemon/congestion_choice.h"

#include "snp/tcp/cc/congestion_control.h"

namespace snp::daemon {

void choose_congestion_control(std::string_view setting, std::string_view system_default,
                               CachedState& cached) noexcept {
  const std::string_view of_socket = cached.congestion_control.data();
  const bool is_chosen = of_socket != system_default;
  const tcp::CongestionAlgorithm* algorithm = tcp::find_congestion_algorithm(of_socket);
  if (algorithm == nullptr || (!is_chosen && setting != "host"))
    algorithm = &tcp::congestion_algorithm_or_default(setting);
  cached.congestion_control.fill('\0');
  algorithm->name.copy(cached.congestion_control.data(), cached.congestion_control.size() - 1);
}

}  // namespace snp::daemon
