#include "test/script/runner.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "test/script/packet_text.h"

namespace snp::script {
namespace {

constexpr Instant kStart = Instant(seconds(1000));

// Ends the run.
struct Failed {
  std::string message;
};

class Run {
 public:
  Run(const Script& script, const std::optional<Placement>& placement)
      : script_(script), placement_(placement), endpoint_(script.setup, kStart), nominal_(kStart) {}

  std::string go() {
    try {
      for (at_ = 0; at_ < script_.events.size(); ++at_) {
        if (at_ != 0) place_handover();
        step();
        if (!endpoint_.complaint().empty()) fail(endpoint_.complaint());
      }
      --at_;
      check_nothing_came("before the end");
    } catch (const Failed& failed) {
      return failed.message;
    }
    return {};
  }

 private:
  [[nodiscard]] const Event& event() const { return script_.events[at_]; }
  [[noreturn]] void fail(const std::string& what, std::optional<Place> place = {}) const {
    const Place at = place.value_or(event().place);
    std::string message = script_.path + ":" + std::to_string(at.line) + ":" +
                          std::to_string(at.column) + ": " + what + "\n  script: " + event().text;
    if (placement_)
      message += std::string("\n  with ") +
                 (placement_->kind == HandOver::kOrderly ? "a hand-over" : "a restart") +
                 (placement_->gap ? " after line " + line_of_gap() : " in each gap") +
                 (placement_->is_midway ? ", half-way to the next event" : "");
    throw Failed{std::move(message)};
  }
  [[nodiscard]] std::string line_of_gap() const {
    return std::to_string(script_.events[*placement_->gap].place.line);
  }
  [[nodiscard]] Duration slack() const { return milliseconds(endpoint_.handovers()); }
  [[nodiscard]] static Instant plus(Instant base, Duration d) {
    return d > Duration::max() / 4 ? kNever : base + d;
  }
  // [first, last] moment of this event.
  [[nodiscard]] std::pair<Instant, Instant> window() const {
    const When& when = event().when;
    if (when.kind == When::Kind::kAny) return {nominal_, kNever};
    const Instant base = when.kind == When::Kind::kAbsolute ? kStart : nominal_;
    return {base + when.from, base + when.to};
  }

  void place_handover() {
    const std::size_t gap = at_ - 1;
    if (!placement_ || !script_.events[gap].no_handover.empty() || !endpoint_.is_here()) return;
    if (placement_->gap && *placement_->gap != gap) return;
    if (placement_->is_midway) {
      const Instant next = window().first;
      if (next > endpoint_.now())
        endpoint_.pass_until(endpoint_.now() + (next - endpoint_.now()) / 2);
    }
    endpoint_.hand_over(placement_->kind);
  }

  void step() {
    const auto [first, last] = window();
    if (first < nominal_) fail("this lies before the event before it");
    if (const auto* packet = std::get_if<Packet>(&event().what); packet && packet->is_outbound)
      return expect(*packet, first, last);
    pass_until(first);
    check_nothing_came("before this");
    nominal_ = first;
    if (const auto* packet = std::get_if<Packet>(&event().what))
      receive(*packet);
    else if (const auto* call = std::get_if<Call>(&event().what))
      perform(*call);
    else if (const auto* code = std::get_if<Code>(&event().what))
      check(*code);
    else
      act(std::get<HostAct>(event().what));
  }

  void pass_until(Instant when) {
    endpoint_.pass_until(when);
    if (!endpoint_.complaint().empty()) fail(endpoint_.complaint());
  }

  // What a hand-over sent ahead of its time is put aside until the script asks for it.
  void put_owed_aside() {
    std::deque<Sent>& sent = endpoint_.sent();
    while (!sent.empty() && sent.front().is_owed) {
      owed_.push_back(sent.front());
      sent.pop_front();
    }
  }

  void check_nothing_came(const char* when) {
    put_owed_aside();
    if (endpoint_.sent().empty()) return;
    const Sent& came = endpoint_.sent().front();
    fail(std::string("this came ") + when +
         ", and nothing was expected\n  came:   " + text_of(came));
  }
  [[nodiscard]] std::string text_of(const Sent& sent) const {
    return time_text(sent.when - kStart) + " " + packet_text(sent.plan, endpoint_);
  }

  void expect(const Packet& packet, Instant first, Instant last) {
    put_owed_aside();
    if (take_owed(packet)) {
      pass_until(first);
      nominal_ = first;
      return;
    }
    while (endpoint_.sent().empty() && endpoint_.next_timeout() <= last &&
           endpoint_.next_timeout() != kNever)
      pass_until(endpoint_.next_timeout());
    if (endpoint_.sent().empty()) {
      if (last != kNever) pass_until(last);
      fail("nothing came until " + (last == kNever ? "the end" : time_text(last - kStart)));
    }
    const Sent came = endpoint_.sent().front();
    endpoint_.sent().pop_front();
    const Tolerance tolerance{placement_ || endpoint_.handovers() != 0 ? endpoint_.handovers() : 0};
    std::string difference = difference_of(packet, came.plan, endpoint_, tolerance);
    if (difference.empty() && (came.when < first - slack() || came.when > last))
      difference = "time";
    if (!difference.empty())
      fail("another " + difference + " was expected\n  came:   " + text_of(came));
    if (packet.options.has_timestamps)
      ts_shift_[packet.options.ts_val] = came.plan.options.ts_val - packet.options.ts_val;
    nominal_ = first == last ? first : std::max(came.when, first);
    pass_until(nominal_);
  }

  bool take_owed(const Packet& packet) {
    const auto found = std::find_if(owed_.begin(), owed_.end(), [&](const Sent& sent) {
      return difference_of(packet, sent.plan, endpoint_, Tolerance::of_owed_ack()).empty();
    });
    if (found == owed_.end()) return false;
    owed_.erase(found);
    return true;
  }

  // Whoever reads our timestamps echoes what really came.
  void receive(Packet packet) {
    TcpOptions& options = packet.options;
    if (options.has_timestamps && !ts_shift_.empty()) {
      auto found = ts_shift_.upper_bound(options.ts_ecr);
      if (found != ts_shift_.begin()) options.ts_ecr += std::prev(found)->second;
    }
    endpoint_.receive(packet);
  }

  void perform(const Call& call) {
    const auto result = endpoint_.call(call);
    if (!result) fail(result.error().message);
    if (result->value == call.result && result->error == call.error) return;
    fail(call.name + " returned " + std::to_string(result->value) +
         (result->error.empty() ? "" : " " + result->error));
  }

  void check(const Code& code) const {
    const Names names = [&](std::string_view name) { return endpoint_.value_of(name); };
    for (const Assertion& assertion : code.assertions) {
      const auto value = assertion.expression.evaluate(names);
      if (!value) fail(value.error().message, assertion.place);
      if (*value != 0) continue;
      std::string message = "this does not hold: " + assertion.text;
      for (const std::string& name : assertion.expression.names())
        message += "\n  " + name + " is " + std::to_string(*endpoint_.value_of(name));
      fail(message, assertion.place);
    }
  }

  void act(const HostAct& act) {
    switch (act.kind) {
      case HostAct::Kind::kHandOver:
        return endpoint_.hand_over(HandOver::kOrderly);
      case HostAct::Kind::kRestart:
        return endpoint_.hand_over(HandOver::kRestart);
      case HostAct::Kind::kUpload:
        return endpoint_.upload(HandOver::kOrderly);
      case HostAct::Kind::kOffload:
        return endpoint_.offload();
      case HostAct::Kind::kPathMtu:
        return endpoint_.set_path_mtu(act.value);
    }
  }

  const Script& script_;
  const std::optional<Placement>& placement_;
  Endpoint endpoint_;
  std::size_t at_ = 0;
  Instant nominal_;  // of the last event, as the script has it
  std::vector<Sent> owed_;
  std::map<std::uint32_t, std::uint32_t> ts_shift_;  // timestamp of the script: what to add
};

}  // namespace

std::string run(const Script& script, const std::optional<Placement>& placement) {
  return Run(script, placement).go();
}

}  // namespace snp::script
