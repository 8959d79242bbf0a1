#include "snp/commands/feature_rows.h"

namespace snp::commands {
namespace {

Json to_json(const FeatureRow& row) {
  const chimney::ReasonText& reason = chimney::text_of(row.reason);
  return Json{{"reason", std::string(reason.name)},
              {"what", row.what},
              {"is_respected", row.is_respected},
              {"hint", std::string(reason.hint)}};
}

}  // namespace

Json to_json(std::span<const FeatureRow> rows) {
  Json features = Json::array();
  for (const FeatureRow& row : rows)
    features.push_back(to_json(row));
  return features;
}

Json respected_json(std::span<const FeatureRow> rows) {
  Json features = Json::array();
  for (const FeatureRow& row : rows)
    if (row.is_respected) features.push_back(to_json(row));
  return features;
}

std::string feature_name(const Json& feature) {
  return feature.at("reason").get<std::string>() + ": " + feature.at("what").get<std::string>();
}

std::string not_for(const Json& feature) {
  return "connections that " + feature.at("what").get<std::string>() + " (" +
         feature.at("reason").get<std::string>() +
         ") may concern: they stay in the host, without Chimney and NetDMA";
}

}  // namespace snp::commands
