#include "snp/commands/row_json.h"

namespace snp::commands {

Json to_json(const ConnectionRow& row) {
  const chimney::ReasonText& reason = chimney::text_of(row.reason);
  const auto part = [](const CarriedPart& carried) {
    return Json{{"segments_in", carried.segments_in},
                {"segments_out", carried.segments_out},
                {"retransmits", carried.retransmits},
                {"bytes_in", carried.bytes_in},
                {"bytes_out", carried.bytes_out}};
  };
  return Json{
      {"ledger", {{"host", part(row.host_part)}, {"target", part(row.target_part)}}},
      {"local", to_string(row.flow.local)},
      {"remote", to_string(row.flow.remote)},
      {"pid", row.pid},
      {"fd", row.fd},
      {"program", row.program},
      {"offload_state", row.offload_state},
      {"target", row.target},
      {"shard", row.shard},
      {"reason", std::string(reason.name)},
      {"reason_text", std::string(reason.sentence)},
      {"reason_detail", row.reason_detail},
      {"hint", std::string(reason.hint)},
      {"bytes_in", row.bytes_in},
      {"bytes_out", row.bytes_out},
      {"hand_overs", row.hand_overs},
      {"last_quiet_us", row.quiet_us},
      {"tcp_state", row.tcp_state},
      {"srtt_us", row.srtt_us},
      {"retransmits", row.retransmits},
      {"peer_pid", row.peer_pid},
      {"peer_program", row.peer_program},
  };
}

}  // namespace snp::commands
