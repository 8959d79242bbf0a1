// Clients that hear of what happens to connections, and may refuse it: their sessions. What they
// say is checked here, what it means is the desk's (event_desk.h).
#include <algorithm>
#include <cstring>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/engine/clock.h"
#include "snp/ipc/control_protocol.h"

namespace snp::daemon {
namespace {

using commands::Json;
using settings::Setting;

constexpr Duration kBetweenVetoChecks = milliseconds(100);

// Of a client; for logs and tables.
std::string printable(std::string text, std::size_t longest) {
  text.resize(std::min(text.size(), longest));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return (c >= 0 && c < 32) || c == 127; }, '?');
  return text;
}

}  // namespace

void Control::serve_events() {
  EventDesk::Hooks hooks;
  hooks.send = [this](std::uint64_t session, const std::string& text) {
    return send_event(session, text);
  };
  hooks.dismiss = [this](std::uint64_t number, const std::string& why) {
    parts_.loop.call_soon([this, number, why] {
      const auto found = sessions_.find(number);
      if (found == sessions_.end()) return;
      refuse(*found->second, why);
      end_session(*found->second);
    });
  };
  hooks.call_at = [this](Instant when, std::function<void()> task) {
    parts_.loop.call_at(when, std::move(task));
  };
  hooks.now = [] { return engine::monotonic_now(); };
  hooks.on_settled = [this](QuestionId id) { parts_.offloader.on_settled(id); };
  // Who changes its mind all the time is listened to so often, at most.
  hooks.on_change = [this] {
    if (std::exchange(is_veto_check_due_, true)) return;
    parts_.loop.call_at(engine::monotonic_now() + kBetweenVetoChecks, [this] {
      is_veto_check_due_ = false;
      if (!is_stopping_) follow_policy();
    });
  };
  hooks.is_live = [this](const SlotUse& use) { return parts_.offloader.is_live(use); };
  parts_.events.set_hooks(std::move(hooks));
}

bool Control::send_event(std::uint64_t number, const std::string& text) {
  const auto found = sessions_.find(number);
  const ipc::MessageHeader header{ipc::kProtocolMagic, ipc::MessageKind::kEvent, 0};
  std::vector<std::byte> message(sizeof header + text.size());
  if (found == sessions_.end() || message.size() > ipc::kMaxMessage) return false;
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + sizeof header, text.data(), text.size());
  Session& session = *found->second;
  if (!session.send(message)) return false;
  if (session.has_output()) parts_.loop.change(session.fd(), EPOLLIN | EPOLLOUT);
  return true;
}

bool Control::on_subscribe(Session& session, std::string_view text) {
  if (session.program != nullptr || session.is_command_running || session.is_client) {
    refuse(session, "a subscription on a session that is used already");
    return false;
  }
  if (auto done = subscribe(session, text); !done) {
    reply(session.number, tl::unexpected(done.error()));
    return true;
  }
  session.is_client = true;
  reply(session.number, Json{{"veto_timeout_ms", parts_.settings.number(Setting::kVetoTimeoutMs)},
                             {"veto_unanswered", parts_.settings.text(Setting::kVetoUnanswered)}});
  // Where a veto is required, what waited for one may be asked about now.
  if (parts_.settings.text(Setting::kVetoRequired) == "enabled")
    parts_.loop.call_soon([this] { follow_policy(); });
  return true;
}

Result<> Control::subscribe(Session& session, std::string_view text) {
  if (session.uid != 0 && session.uid != ::geteuid())
    return fail(Errc::kDenied, "events: only root and the owner of snpd may hear of them");
  EventDesk::Client client;
  client.pid = session.pid;
  try {
    const Json request = Json::parse(text);
    client.name = printable(request.at("name").get<std::string>(), EventDesk::kLongestName);
    client.wants_events = request.value("events", true);
    client.has_veto = request.value("veto", false);
  } catch (const Json::exception& error) {
    return fail(Errc::kInvalid, std::string("events: no subscription: ") + error.what());
  }
  if (client.name.empty()) return fail(Errc::kInvalid, "events: a client needs a name");
  const std::string line = client.name + " (pid " + std::to_string(client.pid) + ") listens" +
                           (client.has_veto ? " and has a veto" : "");
  auto done = parts_.events.subscribe(session.number, std::move(client));
  if (done) spdlog::info("client {}", line);
  return done;
}

bool Control::on_verdict(Session& session, std::string_view text) {
  const auto done = take_verdict(session, text);
  if (!done) refuse(session, done.error().message);
  return done.has_value();
}

Result<> Control::take_verdict(const Session& session, std::string_view text) {
  if (!session.is_client) return fail(Errc::kInvalid, "a verdict before a subscription");
  try {
    const Json verdict = Json::parse(text);
    const auto said = verdict.at("verdict").get<std::string>();
    if (said != "allow" && said != "refuse")
      return fail(Errc::kInvalid, "a verdict is allow or refuse");
    if (!verdict.at("id").is_number_unsigned())
      return fail(Errc::kInvalid, "the id of a question is a number");
    return parts_.events.answer(session.number, verdict.at("id").get<QuestionId>(), said == "allow",
                                printable(verdict.value("text", ""), EventDesk::kLongestText));
  } catch (const Json::exception& error) {
    return fail(Errc::kInvalid, std::string("a verdict that is none: ") + error.what());
  }
}

}  // namespace snp::daemon
