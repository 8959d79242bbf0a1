// Who wants to hear what becomes of connections, and who may say no before one is offloaded
// (doc/events.md). Clients are told and asked, never waited for: what one does not take is lost to
// it and counted, a question has its time, and who lets many pass is no client any more. Control
// thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sys/types.h>

#include "snp/base/result.h"
#include "snp/base/time.h"
#include "snp/chimney/reason.h"
#include "snp/commands/service.h"
#include "snp/daemon/pairs.h"
#include "snp/settings/settings.h"
#include "snp/wire/address.h"

namespace snp::daemon {

// 0: none. A connection keeps its question for as long as its slot is in use.
using QuestionId = std::uint64_t;

struct ConnectionEvent {
  // "offloaded", "uploaded", "declined", "failed", "closed"; "question"
  std::string_view kind;
  FourTuple flow;
  std::uint32_t pid = 0;  // 0: the program has closed it
  std::string program;
  std::string_view target;  // "engine", "local"
  chimney::Reason reason = chimney::Reason::kOffloaded;
  std::string detail;   // which rule, table, client
  std::string_view by;  // "administrator", "policy", "program", "client", "snpd"
  std::uint32_t quiet_us = 0;
};

class EventDesk {
 public:
  static constexpr std::size_t kMostClients = 16;
  static constexpr std::size_t kMostQuestions = 131072;
  static constexpr std::uint32_t kMostUnanswered = 16;  // in a row
  static constexpr std::size_t kLongestName = 64, kLongestText = 256;

  struct Hooks {
    // A message for the client of that session, without waiting. False: it takes none.
    std::function<bool(std::uint64_t session, const std::string& text)> send;
    std::function<void(std::uint64_t session, const std::string& why)> dismiss;
    std::function<void(Instant when, std::function<void()> task)> call_at;
    std::function<Instant()> now;
    std::function<void(QuestionId id)> on_settled;  // it had been open
    std::function<void()> on_change;                // of an answer that had been given
    std::function<bool(const SlotUse& use)> is_live;
  };
  explicit EventDesk(const settings::Settings& settings) : settings_(settings) {}
  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  // --- clients ---

  struct Client {
    std::string name;
    pid_t pid = 0;
    bool wants_events = true, has_veto = false;
  };
  Result<> subscribe(std::uint64_t session, Client client);
  void unsubscribe(std::uint64_t session);
  // The same question may be answered again: the last answer counts.
  Result<> answer(std::uint64_t session, QuestionId id, bool is_allowed, std::string text);
  [[nodiscard]] std::vector<commands::ClientRow> rows() const;

  // --- what happens ---

  [[nodiscard]] bool has_listeners() const noexcept { return !clients_.empty(); }
  void publish(const ConnectionEvent& event);

  // --- vetoes ---

  enum class Permission : std::uint8_t { kGranted, kAsked, kRefused };
  // Asks whoever has not been asked yet. `id`: of the connection, 0 at first. kAsked: on_settled
  // follows.
  Permission ask(QuestionId& id, const SlotUse& use, const ConnectionEvent& question);
  // Who refuses it, and why; nothing: nobody, so far.
  [[nodiscard]] std::optional<std::string> refusal(QuestionId id) const;

 private:
  struct Session {
    Client client;
    std::uint64_t events = 0, lost = 0, lost_now = 0;
    std::uint64_t questions = 0, refusals = 0, unanswered = 0;
    std::uint32_t unanswered_in_row = 0;
  };
  enum class Said : std::uint8_t { kNothing, kYes, kNo, kTimedOut };
  struct Opinion {
    Said said = Said::kNothing;
    std::string text;
  };
  struct Question {
    SlotUse use;
    std::map<std::uint64_t, Opinion> opinions;  // by session
    Instant deadline;
    bool is_open = false;
    [[nodiscard]] bool is_waiting() const noexcept;
  };

  void close(QuestionId id);
  void time_out(QuestionId id);
  void forget_dead();
  [[nodiscard]] bool is_refusal(const Opinion& opinion) const;
  [[nodiscard]] bool has_vetoers() const noexcept;

  const settings::Settings& settings_;
  Hooks hooks_;
  std::map<std::uint64_t, Session> clients_;
  std::unordered_map<QuestionId, Question> questions_;
  QuestionId next_question_ = 1;
  std::uint64_t next_event_ = 1;
};

}  // namespace snp::daemon
