#include "snp/daemon/event_desk.h"

#include <algorithm>
#include <chrono>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "snp/commands/command.h"

namespace snp::daemon {
namespace {

using chimney::Reason;
using commands::Json;
using settings::Setting;

// By the clock on the wall, UTC: for people and other programs' logs.
std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), us % 1000000);
}

Json to_json(const ConnectionEvent& event) {
  const chimney::ReasonText& reason = chimney::text_of(event.reason);
  return Json{{"event", std::string(event.kind)},
              {"time", time_text()},
              {"local", to_string(event.flow.local)},
              {"remote", to_string(event.flow.remote)},
              {"pid", event.pid},
              {"program", event.program},
              {"target", std::string(event.target)},
              {"reason", std::string(reason.name)},
              {"reason_text", std::string(reason.sentence)},
              {"reason_detail", event.detail},
              {"by", std::string(event.by)},
              {"quiet_us", event.quiet_us}};
}

}  // namespace

// --- clients ---

Result<> EventDesk::subscribe(std::uint64_t session, Client client) {
  if (clients_.contains(session)) return fail(Errc::kInvalid, "subscribed twice");
  if (clients_.size() >= kMostClients)
    return fail(Errc::kFull, "there are " + std::to_string(kMostClients) + " clients already");
  Session fresh;
  fresh.client = std::move(client);
  clients_.emplace(session, std::move(fresh));
  return {};
}

void EventDesk::unsubscribe(std::uint64_t session) {
  const auto found = clients_.find(session);
  if (found == clients_.end()) return;
  const bool had_veto = found->second.client.has_veto;
  clients_.erase(found);
  if (!had_veto) return;
  std::vector<QuestionId> waiting;
  for (auto& [id, question] : questions_)
    if (question.opinions.erase(session) != 0 && question.is_open) waiting.push_back(id);
  for (const QuestionId id : waiting)
    close(id);
  hooks_.on_change();  // what it refused, it refuses no more
}

Result<> EventDesk::answer(std::uint64_t session, QuestionId id, bool is_allowed,
                           std::string text) {
  const auto client = clients_.find(session);
  if (client == clients_.end() || !client->second.client.has_veto)
    return fail(Errc::kDenied, "an answer without a veto");
  client->second.unanswered_in_row = 0;
  const auto found = questions_.find(id);
  if (found == questions_.end()) return {};  // its connection is over
  const auto opinion = found->second.opinions.find(session);
  if (opinion == found->second.opinions.end())
    return fail(Errc::kInvalid, "an answer to what was not asked");
  const bool was_refused = refusal(id).has_value();
  const Said before = std::exchange(opinion->second.said, is_allowed ? Said::kYes : Said::kNo);
  opinion->second.text = std::move(text);
  if (!is_allowed && before != Said::kNo) ++client->second.refusals;
  if (found->second.is_open)
    close(id);
  else if (was_refused != refusal(id).has_value())
    hooks_.on_change();
  return {};
}

std::vector<commands::ClientRow> EventDesk::rows() const {
  std::vector<commands::ClientRow> rows;
  for (const auto& [number, session] : clients_) {
    commands::ClientRow row;
    row.name = session.client.name;
    row.pid = static_cast<std::uint32_t>(session.client.pid);
    row.has_veto = session.client.has_veto;
    row.events = session.events;
    row.lost = session.lost;
    row.questions = session.questions;
    row.refusals = session.refusals;
    row.unanswered = session.unanswered;
    rows.push_back(std::move(row));
  }
  return rows;
}

// --- what happens ---

void EventDesk::publish(const ConnectionEvent& event) {
  const std::uint64_t number = next_event_++;
  for (auto& [session, client] : clients_) {
    if (!client.client.wants_events) continue;
    Json json = to_json(event);
    json["number"] = number;
    if (client.lost_now != 0) json["lost"] = client.lost_now;
    if (hooks_.send(session, json.dump(-1, ' ', false, Json::error_handler_t::replace))) {
      ++client.events;
      client.lost_now = 0;
    } else {
      ++client.lost;
      ++client.lost_now;
    }
  }
}

// --- vetoes ---

bool EventDesk::has_vetoers() const noexcept {
  return std::any_of(clients_.begin(), clients_.end(),
                     [](const auto& entry) { return entry.second.client.has_veto; });
}

bool EventDesk::Question::is_waiting() const noexcept {
  return std::any_of(opinions.begin(), opinions.end(),
                     [](const auto& entry) { return entry.second.said == Said::kNothing; });
}

EventDesk::Permission EventDesk::ask(QuestionId& id, const SlotUse& use,
                                     const ConnectionEvent& event) {
  const auto decided = [&] { return refusal(id) ? Permission::kRefused : Permission::kGranted; };
  if (!has_vetoers()) return decided();
  if (!questions_.contains(id)) {
    if (questions_.size() >= kMostQuestions) forget_dead();
    id = next_question_++;
  }
  Question& question = questions_[id];
  question.use = use;
  const Instant now = hooks_.now();
  const Duration patience = milliseconds(settings_.number(Setting::kVetoTimeoutMs));
  Json json = to_json(event);
  json["event"] = "question";
  json["id"] = id;
  json["timeout_ms"] = patience / milliseconds(1);
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (auto& [number, client] : clients_) {
    if (!client.client.has_veto) continue;
    const auto [place, is_fresh] = question.opinions.try_emplace(number);
    if (!is_fresh) continue;
    ++client.questions;
    question.deadline = now + patience;
    if (hooks_.send(number, text)) continue;
    ++client.unanswered;  // it does not even read
    place->second.said = Said::kTimedOut;
  }
  if (!question.is_waiting() || refusal(id)) return decided();
  if (!std::exchange(question.is_open, true) || question.deadline == now + patience)
    hooks_.call_at(question.deadline, [this, asked = id] { time_out(asked); });
  return Permission::kAsked;
}

bool EventDesk::is_refusal(const Opinion& opinion) const {
  if (opinion.said == Said::kTimedOut) return settings_.text(Setting::kVetoUnanswered) == "host";
  return opinion.said == Said::kNo;
}

std::optional<std::string> EventDesk::refusal(QuestionId id) const {
  if (!has_vetoers()) {
    if (settings_.text(Setting::kVetoRequired) == "disabled") return std::nullopt;
    return "no client with a veto is there, and one is required";
  }
  const auto found = questions_.find(id);
  if (found == questions_.end()) return std::nullopt;
  for (const auto& [number, opinion] : found->second.opinions) {
    if (!is_refusal(opinion)) continue;
    const std::string& name = clients_.at(number).client.name;
    if (opinion.said == Said::kTimedOut) return name + " did not answer in time";
    return opinion.text.empty() ? name : name + ": " + opinion.text;
  }
  return std::nullopt;
}

// Somebody has said something: is it all, or enough?
void EventDesk::close(QuestionId id) {
  const auto found = questions_.find(id);
  if (found == questions_.end() || !found->second.is_open) return;
  if (found->second.is_waiting() && !refusal(id)) return;
  found->second.is_open = false;
  hooks_.on_settled(id);
}

void EventDesk::time_out(QuestionId id) {
  const auto found = questions_.find(id);
  if (found == questions_.end() || hooks_.now() < found->second.deadline) return;
  std::vector<std::uint64_t> slow;
  for (auto& [number, opinion] : found->second.opinions) {
    if (opinion.said != Said::kNothing) continue;
    opinion.said = Said::kTimedOut;
    Session& client = clients_.at(number);
    ++client.unanswered;
    if (++client.unanswered_in_row >= kMostUnanswered) slow.push_back(number);
  }
  close(id);
  for (const std::uint64_t number : slow)
    hooks_.dismiss(number, "it let " + std::to_string(kMostUnanswered) + " questions pass");
}

void EventDesk::forget_dead() {
  std::erase_if(questions_,
                [this](const auto& entry) { return !hooks_.is_live(entry.second.use); });
}

}  // namespace snp::daemon
